"""Images that were drawn, and how they are kept: PNGs, a contact sheet, the pairs, what was asked."""

from __future__ import annotations

import io
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from mvqlab import __version__
from mvqlab.models.pairs import Pairs
from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.sheet import contact_sheet
from mvqlab.support.files import temporary_folder
from mvqlab.support.plain import plain

ASKED, PAIRS, SHEET, GIVEN = "asked.yaml", "pairs.npz", "contact_sheet.png", "given.png"
IMAGE = re.compile(r"image_\d{4,}\.png")
MOST_ON_SHEET = 400  # images: more make a picture that few programs open


class SampleError(ValueError):
    """What was asked for cannot be drawn. The message says why, and what can."""


@dataclass(frozen=True, repr=False)
class Drawn:
    """Images (n, 3, H, W) uint8 and their pairs, on the CPU.

    asked: what they were drawn with, as `mvqlab.sample` takes it. remarks: what a person should know of the
    caption. given: of a completion, the image whose part was kept, (3, H, W) uint8, and the region (L,).
    """

    images: Tensor
    pairs: Pairs
    asked: dict[str, Any]
    remarks: list[str] = field(default_factory=list)
    given: tuple[Tensor, Tensor] | None = None

    def save(self, folder: Path | str, fresh: bool = False) -> Path:
        """Write a PNG an image, a contact sheet, the pairs and what was asked; returns the sheet's path.

        All is written before any of it takes the place of earlier samples, and what is left over of these
        goes last. Of a completion the given image is kept, too. Raises SampleError where the folder holds
        other samples, unless they may be replaced (`fresh`).
        """
        folder = Path(folder)
        check_free(folder, fresh)
        with temporary_folder(folder) as temporary:
            self._write(temporary, folder)
            made = sorted(temporary.iterdir(), key=lambda path: path.name == ASKED)  # it is last
            for new in made:
                new.replace(folder / new.name)
            for old in {*_samples_in(folder)} - {folder / new.name for new in made}:
                old.unlink()
        return folder / SHEET

    def _write(self, folder: Path, at_last: Path) -> None:
        """Write all files into `folder`, which is to become `at_last`."""
        for number, image in enumerate(self.images, start=self.asked["first"]):
            _save_png(image, folder / f"image_{number:04d}.png")
        Image.fromarray(self.contact_sheet()).save(folder / SHEET)
        codes, positions = self.pairs.codes.numpy(), self.pairs.positions.numpy()
        np.savez_compressed(folder / PAIRS, codes=codes, positions=positions, side=self.pairs.side)
        asked = dict(self.asked)
        if self.given is not None:
            _save_png(self.given[0], folder / GIVEN)
            asked["complete"] = str(at_last / GIVEN)
        note = f"# mvqlab.sample(**these) draws them again, on the same machine with {_versions()}\n"
        text = note + yaml.safe_dump(plain(asked, "asked"), sort_keys=False, allow_unicode=True)
        (folder / ASKED).write_text(text, encoding="utf-8")

    def contact_sheet(self) -> np.ndarray:
        """The images on one (H, W, 3), the first 400 of them, at least 512 pixels wide.

        Of a completion the given image and its kept part come first.
        """
        images = list(self.images[:MOST_ON_SHEET])
        if self.given is not None:
            images = [self.given[0], _faded(*self.given), *images]
        return np.asarray(contact_sheet(images))

    def __repr__(self) -> str:
        n, _, height, width = self.images.shape
        words = f"{n} image{'' if n == 1 else 's'} of {width} x {height}, {self.pairs.n_pairs} pairs each"
        return f"<{words}; save(FOLDER) writes them>"

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        buffer = io.BytesIO()
        Image.fromarray(self.contact_sheet()).save(buffer, "PNG")
        return buffer.getvalue()


def check_free(folder: Path, fresh: bool) -> None:
    """Make sure that samples can be written to `folder`.

    Raises SampleError where it holds samples, or files named as samples are, that may not be replaced
    (`fresh`), where it is no folder, and where nothing may be written.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise SampleError(
            f"samples cannot be written to {folder}: {there} is no folder that may be written to"
        )
    in_the_way = _samples_in(folder)
    if in_the_way and not fresh:
        raise SampleError(
            f"{folder} holds samples already ({in_the_way[0].name}): name another folder, or "
            "replace them with --fresh (fresh=True)"
        )


def _samples_in(folder: Path) -> list[Path]:
    """Files in `folder` with the names that `Drawn.save` gives."""
    if not folder.exists():
        return []
    ours = {ASKED, PAIRS, SHEET, GIVEN}
    return sorted(path for path in folder.iterdir() if path.name in ours or IMAGE.fullmatch(path.name))


def _versions() -> str:
    return f"mvqlab {__version__}, torch {torch.__version__} and {torch.get_num_threads()} threads"


def _faded(image: Tensor, region: Tensor) -> Tensor:
    side = math.isqrt(len(region))
    shown = hide_dropped(image.permute(1, 2, 0).numpy(), region.view(side, side).numpy())
    return torch.from_numpy(shown).permute(2, 0, 1)


def _save_png(image: Tensor, path: Path) -> None:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
