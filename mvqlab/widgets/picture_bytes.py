"""Arrays as PNG files in memory, one pixel a value: the browser enlarges them, which keeps them small."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]  # (H, W, 3)
WORST_ERROR = 0.5  # of the range of a channel: what is brightest in an error map


def png(pixels: Pixels) -> bytes:
    """A PNG file of (H, W, 3) bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixels_of(image: Tensor) -> Pixels:
    """(H, W, 3) from an image (3, H, W) of bytes."""
    return image.permute(1, 2, 0).numpy()


def heat_map(values: Tensor, low: float | None = None, high: float | None = None) -> Pixels:
    """Values (h, w) in cividis, from `low` (default: the least) to `high` (default: the greatest)."""
    numbers = values.double().numpy()
    low = float(numbers.min()) if low is None else low
    high = float(numbers.max()) if high is None else high
    shares = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    return (colormaps["cividis"](shares)[..., :3] * 255.0).round().astype(np.uint8)


def error_map(image: Tensor, restored: Tensor) -> Pixels:
    """How far two images (3, H, W) of bytes are apart: mean over channels, 0 to half of the range."""
    distance = (image.float() - restored.float()).abs().mean(0) / 255.0
    return heat_map(distance, 0.0, WORST_ERROR)
