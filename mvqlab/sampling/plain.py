"""Sampling as section 3.2 says it, in the fewest lines: read this first.

    read all pairs so far                -> logits of the next code     -> draw a code
    read them again, and with them it    -> logits of its position      -> draw a place that is allowed

Every part of every pair is drawn from what the model's own `forward`, the one that training uses, says of a
sequence with one place more. So N pairs take 2 N passes over 1, 2, ... N places, as in the released code.
`sample_pairs` draws the same pairs from the same generator with one pass over one place a pair; it keeps
keys and values, and knows guidance.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.dual_grain import n_fine
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, Part, by_part, no_pairs
from mvqlab.sampling.draw_pairs import UNFILTERED
from mvqlab.sampling.filters import FORBIDDEN, allowed_positions, choose
from mvqlab.sampling.grain import open_in_blocks
from mvqlab.support.evaluation_mode import evaluation_mode


@torch.no_grad()
def sample_plainly(
    model: PairModel,
    n_images: int,
    settings: SamplingConfig | None = None,
    *,
    generator: torch.Generator,
    conditions: Int[Tensor, "B ..."] | None = None,
) -> Pairs:
    """Draw `n_images` sequences of pairs, reading everything anew for each part of each pair.

    Arguments as of `sample_pairs`; guidance is left out.
    """
    settings = settings or UNFILTERED
    first, end = model.predicts[0], model.end_token(model.predicts[0])
    pairs = no_pairs(n_images, model.side, generator.device)  # (B, 0)
    with evaluation_mode(model):
        for n in range(model.n_pairs):
            drawn, pairs = pairs, pairs.widened(n + 1)  # (B, n) and (B, n + 1)
            # not yet drawn, but no padding, whose code would not be read; a raster model's n-th place is n
            pairs.codes[:, n], pairs.positions[:, n] = 0, n
            for part in model.predicts:  # each is drawn in sight of those before it
                logits = model(pairs, conditions).of(part)[:, n]  # (B, K + 1) or (B, L + 1)
                is_allowed = allowed_next(model, part, drawn, settings)  # (B, K) or (B, L), or 1 more
                logits = logits[:, : is_allowed.shape[1]].masked_fill(~is_allowed, FORBIDDEN)
                k = by_part(part, code=settings.code_top_k, position=settings.position_top_k)
                p = by_part(part, code=settings.code_top_p, position=settings.position_top_p)
                pairs.of(part)[:, n] = choose(logits, settings.temperature, k, p, generator)  # (B,)
            has_ended = pairs.of(first)[:, n] == end  # (B,)
            pairs.codes[has_ended, n], pairs.positions[has_ended, n] = NO_CODE, model.side**2  # padding
    return pairs.trimmed()


def allowed_next(
    model: PairModel, part: Part, drawn: Pairs, settings: SamplingConfig
) -> Bool[Tensor, "B choices"]:
    """Which codes (B, K), or which places (B, L), may come after the `drawn` pairs (B, n).

    A place may if it is open; any code may, as long as a place is open. Where `part` may say the end, that is
    one choice more, the last: it comes after the first pair at the earliest, and after it nothing else.
    """
    is_open = open_places(model, drawn, settings)  # (B, L)
    has_room = is_open.any(dim=1, keepdim=True)  # (B, 1)
    any_code = has_room.expand(-1, model.codebook_size)  # (B, 1) -> (B, K)
    allowed = by_part(part, code=any_code, position=is_open)  # (B, K) or (B, L)
    if model.says_end(part):
        may_end = torch.full_like(has_room, drawn.n_pairs > 0)  # (B, 1)
        return torch.cat([allowed, may_end], dim=1)  # (B, K + 1) or (B, L + 1)
    return allowed | ~has_room  # without room an image ends here: what is drawn beside its end is thrown away


def open_places(model: PairModel, drawn: Pairs, settings: SamplingConfig) -> Bool[Tensor, "B L"]:
    """Where the pair after the `drawn` ones (B, n) may go: to any free place; nowhere after an image's end.

    Where positions rise, it comes after the last one and leaves room for the pairs to come; pairs of blocks
    make whole ones.
    """
    has_ended = drawn.is_padding.any(dim=1, keepdim=True)  # (B, 1)
    last = None
    if settings.ordered_positions and model.order == "raster":
        before_all = torch.full((len(drawn), 1), -1, device=drawn.positions.device)  # (B, 1)
        last = torch.cat([before_all, drawn.positions], dim=1)[:, -1]  # (B,)
    if model.in_blocks:
        everywhere = torch.ones(model.side**2, dtype=torch.bool, device=drawn.positions.device)
        return open_in_blocks(drawn.is_kept, last, n_fine(model.n_pairs, model.side**2), everywhere).places
    n_to_come = 0 if model.has_end else model.n_pairs - 1 - drawn.n_pairs
    return allowed_positions(drawn.is_kept, last, n_to_come) & ~has_ended  # (B, L)
