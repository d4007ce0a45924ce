"""Which prediction depends on which pair of a sequence, measured: change one pair, see which logits move."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, Part, by_part


class LogitChanges(NamedTuple):
    """Largest absolute change of any logit, in nats: row n is the pair changed, column m the prediction.

    codes (N, N). positions (N, N), or None where positions are given.
    """

    codes: Tensor
    positions: Tensor | None


@torch.no_grad()
def logit_changes(
    model: PairModel, pairs: Pairs, part: Part, conditions: Tensor | None = None
) -> LogitChanges:
    """What moves in the logits for the `pairs` (1, N) of one image if `part` of one pair becomes another.

    Pair after pair is changed, each alone: its code to the next one of the codebook, or its position to
    the next place, after the last the first. `conditions` are those of the image, if the model takes them.
    The model must be in evaluation mode (dropout would change everything). Raises ValueError for more than
    one image.
    """
    if len(pairs) != 1:
        raise ValueError(f"give the pairs of one image, not of {len(pairs)}")
    n = pairs.n_pairs
    codes, positions = pairs.codes.repeat(n, 1), pairs.positions.repeat(n, 1)
    by_part(part, code=codes, position=positions).diagonal().add_(1).remainder_(model.end_token(part))
    # the unchanged rows go through in a batch of the same size: other sizes may round otherwise
    conditions = None if conditions is None else conditions.expand(n, *conditions.shape[1:])
    before = model(Pairs(pairs.codes.repeat(n, 1), pairs.positions.repeat(n, 1), pairs.side), conditions)
    after = model(Pairs(codes, positions, pairs.side), conditions)
    moved: list[Any] = [
        None if old is None else (new - old).abs().amax(dim=-1)
        for old, new in zip(before, after, strict=True)
    ]
    return LogitChanges(*moved)
