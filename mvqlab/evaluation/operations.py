"""What a step costs, counted instead of timed: floating-point operations, the same on every machine and day.

Counted are matrix products, convolutions and attention, each multiplication and each addition as one
(torch.utils.flop_counter); what acts on each number by itself is left out. Whether a machine does them in
equal time is another question: small ones are waited for. For that, time both side by side on a quiet
machine.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mvqlab.config import Config
from mvqlab.data import Batch
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs

GIGA = 1e9


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of calling `work` once."""
    # fused attention is no product that the counter knows on every device: written out, it is two
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@torch.enable_grad()
def stage1_operations(model: TokenModel, batch: Batch) -> float:
    """Giga-operations an image of a training step of stage 1, forward and backward, its loss aside.

    `model` stays as it is. `batch`: a few images will do.
    """
    learning = deepcopy(model).train()

    def step() -> None:
        made = learning(batch.images, batch.importance)
        (made.images.mean() + made.quantizer_loss).backward()

    return operations(step) / len(batch) / GIGA


@torch.enable_grad()
def stage2_operations(model: PairModel, pairs: Pairs, conditions: Tensor | None) -> float:
    """Giga-operations an image of a training step of the transformers, forward and backward.

    pairs: (B, N), of a few images. conditions: see `mvqlab.training.stage2_step.conditions_of`.
    """
    learning = deepcopy(model).eval()  # without dropout, under which the counter does not see attention
    return operations(lambda: learning.loss(pairs, conditions).total.backward()) / len(pairs) / GIGA


@torch.no_grad()
def drawing_operations(
    model: PairModel, stage1: TokenModel, pairs: Pairs, conditions: Tensor | None, config: Config
) -> float:
    """Giga-operations of drawing an image: its pairs one after the other, with a cache, then the decoder.

    With a cache every pair passes the transformers once, which is counted as a forward pass with all `pairs`
    (B, N); that looks at later pairs, too, a few per cent too much where sequences are short. Of a masked
    parallel model every place passes once a step. Twice where guidance is on.
    """
    # the counter stumbles over weights that would learn
    transformers = deepcopy(model).eval().requires_grad_(False)
    decoder = deepcopy(stage1).eval().requires_grad_(False)
    sampling = config.sampling
    is_guided = conditions is not None and sampling.is_guided
    of_pairs = operations(lambda: transformers.loss(pairs, conditions))
    of_decoder = operations(lambda: decoder.decode(pairs))
    n_passes = (1 + is_guided) * transformers.places_read(sampling)
    return (n_passes * of_pairs + of_decoder) / len(pairs) / GIGA
