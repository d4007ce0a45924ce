"""One image being drawn, recorded pair by pair: what each draw was made from, and the image on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.data.pixels import to_uint8
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.sampling import sample_pairs
from mvqlab.sampling.trace import SamplingTrace, grow, trace_sampling
from mvqlab.support.one_thread import one_thread


@dataclass(frozen=True)
class Recording:
    """N pairs of one image. Step n, from 0 to N, is after n pairs.

    trace: of a batch of one. images (N + 1, 3, H, W) uint8: the image so far; grey where nothing is known.
    seconds (N + 1,): how long drawing the pairs took up to here, in a run that kept no record.
    """

    trace: SamplingTrace
    images: Tensor
    seconds: Tensor

    @property
    def n_pairs(self) -> int:
        """N."""
        return self.trace.pairs.n_pairs


def record(
    model: PairModel,
    stage1: TokenModel,
    settings: SamplingConfig,
    seed: int,
    condition: int | None = None,
) -> Recording:
    """Draw one image with `settings` from `seed`, of class `condition` where the model takes one.

    It is drawn twice from the same seed: once on record, once against the clock.
    """
    conditions = None if condition is None else torch.tensor([condition])
    with one_thread():
        return _record(model, stage1, settings, seed, conditions)


def _record(
    model: PairModel, stage1: TokenModel, settings: SamplingConfig, seed: int, conditions: Tensor | None
) -> Recording:
    trace = trace_sampling(
        model, 1, settings, generator=torch.Generator().manual_seed(seed), conditions=conditions
    )
    ticks = [time.perf_counter()]
    sample_pairs(
        model,
        1,
        settings,
        generator=torch.Generator().manual_seed(seed),
        conditions=conditions,
        progress=lambda: ticks.append(time.perf_counter()),
    )
    seconds = torch.from_numpy(np.array(ticks) - ticks[0])
    return Recording(trace, _images_so_far(stage1, trace), seconds)


def _images_so_far(stage1: TokenModel, trace: SamplingTrace) -> Tensor:
    pairs = trace.pairs
    resolution = stage1.config.data.resolution
    nothing = torch.full((1, 3, resolution, resolution), 200, dtype=torch.uint8)
    if isinstance(stage1, MQVAE):
        grown = grow(stage1, pairs, range(1, pairs.n_pairs + 1))[:, 0]
        return torch.cat([nothing, to_uint8(grown, "samples")])
    # the plain model needs a code at every place: its image is uncovered region by region
    with torch.no_grad():
        whole = to_uint8(stage1.decode(pairs), "samples")
    return torch.cat([_uncovered(whole, nothing, trace, n) for n in range(pairs.n_pairs + 1)])


def _uncovered(whole: Tensor, nothing: Tensor, trace: SamplingTrace, n: int) -> Tensor:
    side = trace.pairs.side
    factor = whole.shape[-1] // side
    is_drawn = trace.is_taken(n).view(1, 1, side, side)
    is_drawn = is_drawn.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return torch.where(is_drawn, whole, nothing)
