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
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, Part, no_pairs, of_part
from mvqlab.sampling.draw_pairs import UNFILTERED
from mvqlab.sampling.evaluation_mode import evaluation_mode
from mvqlab.sampling.filters import FORBIDDEN, allowed_positions, choose


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
    s = settings or UNFILTERED
    first, end = model.predicts[0], model.end_token(model.predicts[0])
    pairs = no_pairs(n_images, model.side, generator.device)  # (B, 0)
    with evaluation_mode(model):
        for n in range(model.n_pairs):
            drawn, pairs = pairs, pairs.widened(n + 1)  # (B, n) and (B, n + 1)
            pairs.codes[:, n], pairs.positions[:, n] = 0, n  # overwritten when drawn, and not read before
            for part in model.predicts:
                logits = model(pairs, conditions).of(part)[:, n]  # (B, K + 1) or (B, L + 1)
                allowed = choices(model, part, drawn, s.ordered_positions)  # (B, K) or (B, L), or 1 more
                logits = logits[:, : allowed.shape[1]].masked_fill(~allowed, FORBIDDEN)
                k, p = of_part(part, (s.code_top_k, s.code_top_p), (s.position_top_k, s.position_top_p))
                pairs.of(part)[:, n] = choose(logits, s.temperature, k, p, generator)
            has_ended = pairs.of(first)[:, n] == end  # (B,)
            pairs.codes[has_ended, n], pairs.positions[has_ended, n] = NO_CODE, model.side**2  # padding
    return pairs.trimmed()


def choices(model: PairModel, part: Part, drawn: Pairs, is_ordered: bool) -> Bool[Tensor, "B n"]:
    """Which codes (B, K) or places (B, L) may come after the `drawn` pairs (B, n); the end is one more.

    Any code; a place that is free and, where positions rise, comes after the last one and leaves room for
    the pairs to come. The end comes after the first pair, and after it nothing else.
    """
    n, has_ended = drawn.n_pairs, drawn.is_padding.any(dim=1, keepdim=True)  # (B, 1)
    last = drawn.positions[:, -1] if n else torch.full((len(drawn),), -1, device=drawn.positions.device)
    n_to_come = 0 if model.has_end else model.n_pairs - 1 - n
    is_rising = is_ordered and model.order == "raster"
    places = allowed_positions(drawn.is_kept, last if is_rising else None, n_to_come) & ~has_ended  # (B, L)
    has_room = places.any(dim=1, keepdim=True)  # (B, 1)
    any_code = has_room.expand(-1, model.codebook_size)  # (B, K)
    allowed = of_part(part, any_code, places)
    if model.says_end(part):
        return torch.cat([allowed, torch.full_like(has_room, n > 0)], dim=1)  # (B, K + 1) or (B, L + 1)
    return allowed | ~has_room  # an image that ends here: what is drawn beside its end is thrown away
