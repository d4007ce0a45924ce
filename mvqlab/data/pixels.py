"""From what models compute to bytes for people and judges, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvqlab.support.finite import check_finite


def to_uint8(images: Tensor, what: str = "images") -> Tensor:
    """Images in [-1, 1] as 8 bits a channel, rounded; uint8 images as they are.

    Raises NonFiniteError, which calls them `what`: a byte cannot say that there was none.
    """
    if images.dtype == torch.uint8:
        return images
    check_finite(what, images)
    return ((images.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Pixels of 8 bits a channel as images in [-1, 1]."""
    return pixels.float().div(127.5).sub(1.0)


def to_display(images: Tensor, what: str = "images") -> NDArray[np.uint8]:
    """Images (B, 3, H, W), uint8 or in [-1, 1], as (B, H, W, 3) bytes; what lies outside is clipped.

    Raises NonFiniteError, which calls them `what`.
    """
    return to_uint8(images, what).cpu().permute(0, 2, 3, 1).numpy()
