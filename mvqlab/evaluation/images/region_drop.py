"""Which regions matter: take one region's code away, put a guess in its place, and see what the image loses.

A guess (`Guess`) says what stands in for a region. One that is the same everywhere asks how far a region is
from ordinary ones; `guess_from_neighbours` knows the regions around it, and so asks what cannot be inferred
from them, which is the paper's question.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.models.demasking import on_grid
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.finite import check_finite

Guess = Callable[[Tensor], Tensor]  # quantised regions (B, L, n_z) to a stand-in for each of them (B, L, n_z)


def same_everywhere(code: Tensor) -> Guess:
    """A guess that knows nothing about the image: the vector `code` (n_z) at every place."""
    return lambda regions: code.expand_as(regions)


def mean_code(codebook: Tensor, counts: Tensor) -> Tensor:
    """Mean (n_z) of a codebook (K, n_z) whose codes occur `counts` (K,) times, see `code_counts`."""
    return (counts / counts.sum()).to(codebook) @ codebook.detach()


def guess_from_neighbours(regions: Tensor) -> Tensor:
    """The mean of the up to eight regions around each of `regions` (B, L, n_z) on a square grid."""
    n_places, channels = regions.shape[1:]
    side = round(n_places**0.5)
    grid = on_grid(regions, side)  # (B, n_z, h, w)
    around = torch.ones(1, 1, 3, 3, device=grid.device, dtype=grid.dtype)
    around[..., 1, 1] = 0.0
    sums = F.conv2d(grid, around.expand(channels, 1, 3, 3), padding=1, groups=channels)
    n_around = F.conv2d(torch.ones_like(grid[:1, :1]), around, padding=1)
    return (sums / n_around).flatten(2).transpose(1, 2)


@torch.no_grad()
def drop_costs(model: TokenModel, images: Tensor, guess: Guess) -> Tensor:
    """What each region is worth to each of `images` (B, 3, H, W) in [-1, 1]: (B, L).

    The increase of the mean squared error of the decoded image, pixels in [0, 1], when that region's code
    alone is replaced by its guess. Below 0 where the guess does better. Costs of several regions do not add
    up. Takes L passes of the decoder an image; the model should be in evaluation mode.

    Raises ValueError for a model that does not give every region a code.
    """
    if model.n_kept != model.n_positions:
        raise ValueError(
            f"the model keeps {model.n_kept} of {model.n_positions} regions: a cost for every region needs a "
            "model that gives each of them a code (mask.kind=none)"
        )
    pairs = model.encode(images).pairs
    regions = model.quantizer.look_up(pairs.codes)
    guesses = guess(regions)
    before = squared_errors(model.restore(regions, pairs.positions), images)
    costs = torch.empty(len(images), model.n_positions, device=images.device)
    every = torch.arange(model.n_positions)
    for number, image in enumerate(images):
        changed = regions[number].repeat(len(every), 1, 1)  # row l: the image without its region l
        changed[every, every] = guesses[number]
        positions = pairs.positions[number].expand(len(every), -1)
        costs[number] = squared_errors(model.restore(changed, positions), image) - before[number]
    return costs


def rank_correlations(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation (B,) of two numbers a region, both (B, L), within each image.

    nan where one of the two is the same at all regions, as the coverage of an image without objects.
    """
    from scipy.stats import spearmanr

    found = np.full(len(first), np.nan)
    for number, (one, other) in enumerate(zip(first.cpu().numpy(), second.cpu().numpy(), strict=True)):
        if np.ptp(one) > 0 and np.ptp(other) > 0:  # scipy warns where there is nothing to rank
            found[number] = spearmanr(one, other).statistic
    return torch.from_numpy(found)


def squared_errors(restored: Tensor, images: Tensor) -> Tensor:
    """Mean squared error (B,) of images in [-1, 1], on the scale of pixels in [0, 1]."""
    check_finite("reconstructions", restored)
    return (restored.clamp(-1.0, 1.0) - images).square().mean(dim=(1, 2, 3)) / 4.0
