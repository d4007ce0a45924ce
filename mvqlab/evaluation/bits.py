"""What each image costs under a stage-2 model, in bits: the loss, image by image rather than on average."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs


@torch.no_grad()
def image_bits(
    model: PairModel, pairs: Pairs, conditions: Tensor | None = None, batch_size: int = 256
) -> Tensor:
    """Bits (B,) that an ideal coder with this `model` spends on each image's pairs, positions included.

    They pay for the pairs alone and not for what stage 1 lost: bits of two models compare only together
    with how well each one's stage 1 restores images. The model should be in evaluation mode.
    """
    bits = []
    for first in range(0, len(pairs), batch_size):
        rows = slice(first, first + batch_size)
        some = pairs[rows]
        logits = model(some, None if conditions is None else conditions[rows])
        nats = F.cross_entropy(logits.code_logits.mT, some.codes, reduction="none").sum(dim=1)
        if logits.position_logits is not None:
            nats = nats + F.cross_entropy(logits.position_logits.mT, some.positions, reduction="none").sum(1)
        bits.append(nats / math.log(2))
    return torch.cat(bits)
