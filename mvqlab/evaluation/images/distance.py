"""How well regions come back by how far they lie from what was kept: where a de-mask module has work to do.

A kept region is at distance 0. Another's distance is the number of steps to the nearest kept one, each to any
of the eight regions around, which is how far 3 x 3 convolutions have to carry.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.data.pixels import from_uint8
from mvqlab.evaluation.images.reconstruction import BEST_PSNR
from mvqlab.training.losses import region_errors

FARTHEST = 3  # regions that are farther are counted here, too


def distances_to_kept(is_kept: Tensor) -> Tensor:
    """Steps (n, L) from each region to the nearest kept one of its image; is_kept (n, L) bool, a square grid.

    Raises ValueError for an image of which nothing is kept.
    """
    if not is_kept.any(dim=1).all():
        raise ValueError("an image keeps no region: there are no distances to kept ones")
    side = round(is_kept.shape[1] ** 0.5)
    reached = is_kept.float().unflatten(1, (1, side, side))  # (n, L) -> (n, 1, h, w)
    steps = torch.zeros_like(reached)
    while not reached.all():
        steps += 1.0 - reached
        reached = F.max_pool2d(reached, kernel_size=3, stride=1, padding=1)
    return steps.flatten(1).long()


def psnr_by_distance(images: Tensor, reconstructions: Tensor, is_kept: Tensor) -> dict[str, float]:
    """psnr_at_distance_0 to _3, dB: PSNR of the squared error over all regions that far from a kept one.

    Images (n, 3, H, W) uint8, is_kept (n, L) bool. The last is over all regions at distance 3 or more. An
    exact one counts 100 dB; nan where no region is that far.
    """
    side = round(is_kept.shape[1] ** 0.5)
    before, after = from_uint8(images), from_uint8(reconstructions)
    errors = region_errors(before, after, side).double()
    distances = distances_to_kept(is_kept).clamp(max=FARTHEST)
    return {f"psnr_at_distance_{steps}": _psnr(errors[distances == steps]) for steps in range(FARTHEST + 1)}


def _psnr(errors: Tensor) -> float:
    """dB of the mean of squared `errors` (n,)."""
    if len(errors) == 0:
        return math.nan
    return min(BEST_PSNR, float(-10.0 * errors.mean().log10()))
