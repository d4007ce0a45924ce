"""Images that were drawn, and how they are kept: PNGs, a contact sheet, the pairs, what was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from mvqlab.files import whole_file, write_text_whole
from mvqlab.models.pairs import Pairs
from mvqlab.plots.images import hide_dropped

ASKED, PAIRS, SHEET = "asked.yaml", "pairs.npz", "contact_sheet.png"
GAP = 2  # pixels between the images of a contact sheet


class SampleError(ValueError):
    """What was asked for cannot be drawn. The message says why, and what can."""


@dataclass(frozen=True)
class Drawn:
    """Images (n, 3, H, W) uint8 and their pairs, on the CPU.

    asked: what they were drawn with, so that they can be drawn again. remarks: what a person should know of
    the caption. given: of a completion, the image whose part was kept, (3, H, W) uint8, and the region.
    """

    images: Tensor
    pairs: Pairs
    asked: dict[str, Any]
    remarks: list[str] = field(default_factory=list)
    given: tuple[Tensor, Tensor] | None = None

    def save(self, folder: Path | str, fresh: bool = False) -> Path:
        """Write a PNG an image, a contact sheet, the pairs and what was asked; returns the sheet's path.

        Raises SampleError where the folder holds other samples, unless they may be replaced (`fresh`).
        """
        folder = Path(folder)
        check_free(folder, fresh)
        for old in folder.glob("image_*.png"):
            old.unlink()
        first = self.asked["first"]
        pictures = self.images.permute(0, 2, 3, 1).numpy()
        for number, picture in enumerate(pictures, start=first):
            _save_png(picture, folder / f"image_{number:04d}.png")
        _save_png(self.contact_sheet(), folder / SHEET)
        with whole_file(folder / PAIRS) as path:
            codes, positions = self.pairs.codes.numpy(), self.pairs.positions.numpy()
            np.savez_compressed(path, codes=codes, positions=positions, side=self.pairs.side)
        write_text_whole(folder / ASKED, yaml.safe_dump(self.asked, sort_keys=False, allow_unicode=True))
        return folder / SHEET

    def contact_sheet(self) -> np.ndarray:
        """All images on one (H, W, 3); of a completion, the given image and its kept part come first."""
        images = list(self.images)
        if self.given is not None:
            images = [self.given[0], _faded(*self.given), *images]
        side = images[0].shape[-1]
        n_columns = math.ceil(math.sqrt(len(images)))
        n_rows = math.ceil(len(images) / n_columns)
        step = side + GAP
        sheet = np.full((n_rows * step + GAP, n_columns * step + GAP, 3), 255, dtype=np.uint8)
        for number, image in enumerate(images):
            top, left = (GAP + step * place for place in divmod(number, n_columns))
            sheet[top : top + side, left : left + side] = image.permute(1, 2, 0).numpy()
        return sheet


def check_free(folder: Path, fresh: bool) -> None:
    """Raise SampleError where `folder` holds samples that may not be replaced."""
    if (folder / ASKED).exists() and not fresh:
        raise SampleError(f"{folder} holds samples already: --fresh (fresh=True) replaces them")


def _faded(image: Tensor, region: Tensor) -> Tensor:
    side = math.isqrt(len(region))
    shown = hide_dropped(image.permute(1, 2, 0).numpy(), region.view(side, side).numpy())
    return torch.from_numpy(shown).permute(2, 0, 1)


def _save_png(pixels: np.ndarray, path: Path) -> None:
    with whole_file(path) as temporary:
        Image.fromarray(pixels).save(temporary)
