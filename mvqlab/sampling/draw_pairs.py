"""Draw sequences from stage 2, pair by pair, each transformer running once a pair (section 3.2).

    start pair -> [ next_pair: code, position -> note them ] N times -> Pairs

`sampling.plain` draws the same pairs in the fewest lines, and reads everything anew for each. Here keys and
values are kept, a second sequence may guide the first, and a machine may repeat the step its quickest way.
What may be chosen at all is the business of `sampling.chooser`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.masked_parallel import MaskedParallel, no_order
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs
from mvqlab.sampling.chooser import Chooser, OnLogits, rows_to_read
from mvqlab.sampling.parallel import sample_in_parallel
from mvqlab.sampling.quick_way import quick_way
from mvqlab.support.evaluation_mode import evaluation_mode

# what draws where nobody says how; the defaults of `SamplingConfig` are the published filters
UNFILTERED = SamplingConfig().without_filters()


@torch.no_grad()
def sample_pairs(
    model: PairModel,
    n_images: int,
    settings: SamplingConfig | None = None,
    *,
    generator: torch.Generator,
    conditions: Int[Tensor, "B ..."] | None = None,
    progress: Callable[[], object] | None = None,
    on_logits: OnLogits | None = None,
) -> Pairs:
    """Draw `n_images` sequences of pairs, with a key/value cache: each transformer runs once a pair.

    Works for Stackformer, code first or position first, and for the raster baseline alike. No place is
    used twice; with `settings.ordered_positions` positions rise where the model was trained so. If its
    sequences have an end, each image has at least one pair, and what comes after its last is padding.

    settings: default: no filter, no guidance (`UNFILTERED`), not the published filters, which delete rare
    codes. generator: on the model's device. conditions: classes (B,) or tokens of captions (B, T), if the
    model takes them; with `settings.code_guidance` or `position_guidance` other than 1 a second sequence,
    without them, is read beside each (see `guided`). progress: called after every pair. on_logits: called
    before every draw with its part and its logits (B, n), in which what is impossible is -inf; see
    `mvqlab.sampling.trace`. The model's training mode is left as it was.

    A masked parallel model is drawn from as `sampling.parallel` says, `settings.parallel_steps` steps in all;
    it has no next pair for `on_logits` to see, and raises NoOrderError if there is one.
    """
    settings = settings or UNFILTERED
    if isinstance(model, MaskedParallel):
        if on_logits is not None:
            raise no_order()
        hidden = torch.full((n_images, model.side**2), model.hidden, device=generator.device)  # (B, L)
        return sample_in_parallel(
            model, hidden, settings, generator=generator, conditions=conditions, progress=progress
        )
    chooser = Chooser(model, n_images, settings, generator, on_logits)
    n_rows, conditions = rows_to_read(model, n_images, settings, conditions)
    can_replay = on_logits is None  # a replayed step calls nobody
    with evaluation_mode(model), quick_way(model, n_rows, settings, generator, can_replay) as way:
        chooser.choose = way.choose
        cache = model.begin(n_rows, conditions, way.cache)
        newest = model.next_pair(cache, None, chooser)  # (rows, 1), after the start pair
        chooser.note(newest)

        def step() -> None:
            """The next pair, written over the one before it, so that a machine can replay the step."""
            pair = model.next_pair(cache, newest, chooser)
            chooser.note(pair)
            newest.codes.copy_(pair.codes)
            newest.positions.copy_(pair.positions)

        step = way.repeated(step)
        drawn = [newest.copied()]
        for n in range(model.n_pairs):
            if n > 0 and not chooser.is_done():
                step()
                drawn.append(newest.copied())
            if progress is not None:
                progress()
    pairs = joined(drawn)[:n_images]
    return pairs.trimmed() if model.has_end else pairs


def joined(drawn: list[Pairs]) -> Pairs:
    """The sequences (rows, N) of `drawn` pairs (rows, 1), which are padding where they are at place L."""
    codes = torch.cat([pair.codes for pair in drawn], dim=1)  # N times (rows, 1) -> (rows, N)
    positions = torch.cat([pair.positions for pair in drawn], dim=1)
    side = drawn[0].side
    return Pairs(codes.masked_fill(positions == side**2, NO_CODE), positions, side)
