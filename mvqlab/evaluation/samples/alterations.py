"""Real images made worse in one way each: yardsticks for distances, and the test of who judges.

All take images (B, 3, H, W) in [-1, 1] and give as many back. No judge ever learns from one of them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
SHARPEST = 32  # a blur's width is meant for images of so many pixels a side, and grows with them


def greyed(images: Tensor) -> Tensor:
    """The same light without any colour."""
    luma = images.new_tensor(LUMA)[:, None, None]
    return (images * luma).sum(dim=1, keepdim=True).expand_as(images)


def hue_turned(images: Tensor, degrees: float | Tensor) -> Tensor:
    """Colours turned by `degrees`, or by (B,) of them, around the axis of greys, which stay as they are.

    Rodrigues' formula; what the turn leads out of the cube of colours is cut off.
    """
    angle = torch.as_tensor(degrees, dtype=images.dtype).deg2rad().expand(len(images))
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    mean = torch.full((3, 3), 1.0 / 3.0)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    turn = (cosine * torch.eye(3) + sine * across + (1.0 - cosine) * mean).to(images)  # (B, 3, 3)
    return torch.einsum("bij,bjhw->bihw", turn, images).clamp(-1.0, 1.0)


def blurred(images: Tensor, width: float = 1.0) -> Tensor:
    """Blurred by a Gaussian with a standard deviation of `width` pixels at 32 pixels a side."""
    deviation = width * images.shape[-1] / SHARPEST
    reach = math.ceil(3.0 * deviation)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (offsets / deviation).square()).softmax(dim=0)
    padded = F.pad(
        images.flatten(0, 1)[:, None], [reach] * 4, mode="replicate"
    )  # (B * 3, 1, H + 2 r, W + 2 r)
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0].unflatten(0, images.shape[:2])


def shuffled(images: Tensor, generator: torch.Generator, side: int = 4) -> Tensor:
    """Each image cut into `side` x `side` patches, which change places; those of no whole pixels are none."""
    height, width = (length - length % side for length in images.shape[-2:])
    patches = images[..., :height, :width].unflatten(3, (side, -1)).unflatten(2, (side, -1))
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, side * side, 3, h, w)
    order = torch.rand(patches.shape[:2], generator=generator).argsort(dim=1)
    moved = patches[torch.arange(len(images))[:, None], order].unflatten(1, (side, side))
    together = images.clone()
    together[..., :height, :width] = moved.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return together
