"""The best choice of regions that looking can find: drop, again and again, what the image misses least.

A learned score is guessed before anything is dropped. This one tries: it decodes the image without each of
the regions in turn, and lets go the one whose loss hurts least, given what is dropped already. That takes
hundreds of decodings an image, so it is no way to choose, but a mark to hold choices to: what they fall short
of it by is their regret.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvqlab.evaluation.images.region_drop import squared_errors
from mvqlab.models.dual_grain import DualGrainMask
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.masking import gather_regions
from mvqlab.models.mqvae import MQVAE

DECODED_AT_ONCE = 256  # images


@torch.no_grad()
def restored_from(
    model: MQVAE, images: Tensor, positions: Tensor, importance: Tensor | None = None
) -> Tensor:
    """What `model` makes of the regions of `images` at `positions` (B, N): (B, 3, H, W), not clipped."""
    everywhere = quantised_everywhere(model, images, importance)  # (B, L, n_z)
    regions = gather_regions(everywhere, positions)  # (B, L, n_z) -> (B, N, n_z)
    return model.restore(regions, positions)


@torch.no_grad()
def greedy_positions(
    model: MQVAE, images: Tensor, n: int, dropped_at_once: int = 1, importance: Tensor | None = None
) -> Tensor:
    """Positions (B, n), rising, of the regions of `images` (B, 3, H, W) in [-1, 1] that are dropped last.

    dropped_at_once: regions that go between two trials; more of them take less time and look less closely.
    importance: true objects (B, H, W), of a model whose masks read them. Each region is weighed as in the
    model, which should be in evaluation mode. Raises ValueError unless 1 <= n <= L.
    """
    n_positions = model.n_positions
    if not 1 <= n <= n_positions:
        raise ValueError(f"cannot keep {n} of {n_positions} regions")
    regions = quantised_everywhere(model, images, importance)  # (B, L, n_z)
    kept = torch.arange(n_positions, device=images.device).expand(len(images), -1)  # (B, M), M = L at first
    while kept.shape[1] > n:
        n_dropped = min(dropped_at_once, kept.shape[1] - n)
        errors = errors_without(model, images, regions, kept)  # (B, M)
        stay = errors.topk(kept.shape[1] - n_dropped, dim=1).indices.sort(dim=1).values  # (B, M - n_dropped)
        kept = kept.gather(1, stay)  # (B, M) -> (B, M - n_dropped)
    return kept


def quantised_everywhere(model: MQVAE, images: Tensor, importance: Tensor | None = None) -> Tensor:
    """The code's vector (B, L, n_z) of every region of `images`, as if all were kept.

    Raises ValueError for dual grain, where a region's code depends on whether its block is fine.
    """
    if isinstance(model.mask, DualGrainMask):
        raise ValueError("the greedy choice drops single regions, and mask.kind 'dual_grain' chooses blocks")
    everywhere = torch.arange(model.n_positions, device=images.device).expand(len(images), -1)  # (B, L)
    features = model.encoder(images)  # (B, d, h, w)
    scores = model.mask.score(features, MaskContext(images, importance))  # (B, L)
    kept = model.mask.keep(features, scores, everywhere)
    return model.quantizer.look_up(model.quantizer.nearest(kept.features))


def errors_without(model: MQVAE, images: Tensor, regions: Tensor, kept: Tensor) -> Tensor:
    """Mean squared error (B, M) of each of `images` when one of the regions at `kept` (B, M) goes as well."""
    m = kept.shape[1]
    others = ~torch.eye(m, dtype=torch.bool, device=kept.device)  # (M, M): row l is all but l
    errors = []
    for image, of_image, positions in zip(images, regions, kept, strict=True):
        without = positions.expand(m, -1)[others].unflatten(0, (m, m - 1))  # (M, M) -> (M, M - 1)
        parts = [
            squared_errors(model.restore(of_image[part], part), image)
            for part in without.split(DECODED_AT_ONCE)
        ]
        errors.append(torch.cat(parts))  # (M,)
    return torch.stack(errors)
