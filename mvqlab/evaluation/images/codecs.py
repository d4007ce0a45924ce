"""JPEG and WebP at as few bits as a masked model takes: what codes on regions have to be held against.

A file's header is left out, of which a small image would consist for the most part: of JPEG what comes before
the scan (sizes, and the standard tables, which receiver and sender have), of WebP the container. Colours are
stored at half the resolution, as both do by default. The model, in turn, is a decoder of about a million
weights that has seen such images before, and a codec has seen none.
"""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mvqlab.evaluation.images.reconstruction import mean_psnr

Codec = Literal["jpeg", "webp"]
NAMES: dict[Codec, str] = {"jpeg": "JPEG", "webp": "WebP"}
QUALITIES = (1, 2, 4, 7, 12, 20, 30, 45, 60, 75, 90)
START_OF_SCAN, WEBP_CONTAINER = b"\xff\xda", 20  # bytes of RIFF, its size, WEBP, the chunk's name and size


class Coded(NamedTuple):
    """Images as a codec gives them back, (n, 3, H, W) uint8, and what each takes, (n,) bits."""

    images: Tensor
    bits: Tensor


def coded(images: Tensor, codec: Codec, quality: int) -> Coded:
    """`images` (n, 3, H, W) uint8 through `codec` at `quality`, 0 to 100."""
    back, bits = [], []
    for image in images:
        file = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())  # (3, H, W) -> (H, W, 3)
        picture.save(file, codec, quality=quality, method=6)  # WebP alone reads the latter
        content = file.getvalue()
        header = content.index(START_OF_SCAN) if codec == "jpeg" else WEBP_CONTAINER
        bits.append(8 * (len(content) - header))
        decoded = torch.frombuffer(bytearray(Image.open(file).convert("RGB").tobytes()), dtype=torch.uint8)
        back.append(decoded.view(*image.shape[1:], 3).permute(2, 0, 1))  # (H W 3,) -> (H, W, 3) -> (3, H, W)
    return Coded(torch.stack(back), torch.tensor(bits))


def codec_rows(images: Tensor) -> list[dict[str, float | str]]:
    """A row a codec and quality for `images` (n, 3, H, W) uint8: way, setting, bits and psnr (dB), means."""
    rows: list[dict[str, float | str]] = []
    for codec in NAMES:
        for quality in QUALITIES:
            found = coded(images, codec, quality)
            means = {"bits": float(found.bits.double().mean()), "psnr": mean_psnr(images, found.images)}
            rows.append({"way": NAMES[codec], "setting": quality, **means})
    return rows
