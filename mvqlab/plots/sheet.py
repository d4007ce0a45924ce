"""Pictures pixel by pixel: small images enlarged by a whole factor, in rows, with words around them.

matplotlib resamples what it shows; here a pixel of the model stays a crisp square, and the bytes are the same
on every machine with the same Pillow. Sizes are in pixels of the finished picture unless told otherwise.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mvqlab.data.pixels import to_uint8
from mvqlab.support.files import whole_file

Pixels = NDArray[np.uint8]  # (H, W, 3)

MARGIN, GAP = 14, 6
THIN = 2  # pixels of a model between the images of a contact sheet
SEEN = 512  # pixels of a screen: less is a stamp
INK, FAINT, PAPER = (34, 34, 34), (110, 110, 110), (255, 255, 255)
TEXT, SMALL = 15, 12  # heights of letters
LINE = 1.35  # heights of letters from one line to the next


class Row(NamedTuple):
    """Images side by side, a name beside the first one, and the space above them."""

    images: Sequence[Pixels]
    name: str = ""
    space: int = GAP


def sheet(
    rows: Sequence[Row],
    factor: int,
    *,
    columns: Sequence[str] = (),
    title: str = "",
    foot: Sequence[str] = (),
    header: int = 0,
) -> Image.Image:
    """`rows` of equally large images, each enlarged `factor` times, on white.

    columns: words above the images of the first row. title: a line above all. foot: small lines below,
    broken where they are too long. header: empty space above the images for the caller to draw in.
    """
    side = factor * rows[0].images[0].shape[0]
    n_columns = max(len(row.images) for row in rows)
    names = max((width_of(line, SMALL) for row in rows for line in row.name.split("\n")), default=0)
    left = MARGIN + (names + 2 * GAP if names else 0)
    width = left + n_columns * (side + GAP) - GAP + MARGIN
    headings = [_wrapped(words, side, SMALL) for words in columns]
    lines = [part for words in foot for part in _wrapped(words, width - 2 * MARGIN, SMALL)]
    top = MARGIN + header + (_height(1, TEXT) + GAP if title else 0)
    first = top + (_height(max(map(len, headings)), SMALL) if headings else 0)
    bottom = first + sum(row.space + side for row in rows) - rows[0].space
    height = bottom + (GAP + _height(len(lines), SMALL) if lines else 0) + MARGIN
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, font(TEXT))
    for place, words in enumerate(headings):
        middle = left + place * (side + GAP) + side // 2
        draw.multiline_text(
            (middle, first - GAP // 2), "\n".join(words), INK, font(SMALL), "md", align="center"
        )
    y = first - rows[0].space
    for row in rows:
        y += row.space
        draw.multiline_text(
            (left - 2 * GAP, y + side // 2), row.name, INK, font(SMALL), "rm", align="right", spacing=3
        )
        for place, image in enumerate(row.images):
            canvas.paste(enlarged(image, factor), (left + place * (side + GAP), y))
        y += side
    for number, line in enumerate(lines):
        draw.text((MARGIN, bottom + GAP + _height(number, SMALL)), line, FAINT, font(SMALL))
    return canvas


def contact_sheet(images: Tensor | Sequence[Tensor]) -> Image.Image:
    """Images (3, H, W) of one size in a square, enlarged as a whole to be at least `SEEN` pixels wide.

    Images of a model, in [-1, 1], become bytes first.
    """
    images = [to_uint8(image) for image in images]
    side = images[0].shape[-1] + THIN
    n_columns = math.ceil(math.sqrt(len(images)))
    n_rows = math.ceil(len(images) / n_columns)
    pixels = np.full((n_rows * side + THIN, n_columns * side + THIN, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (THIN + side * place for place in divmod(number, n_columns))
        pixels[top : top + side - THIN, left : left + side - THIN] = image.permute(1, 2, 0).numpy()
    return enlarged(pixels, math.ceil(SEEN / pixels.shape[1]))


def enlarged(image: Pixels, factor: int) -> Image.Image:
    """`image` (H, W, 3) with each pixel a square of `factor` pixels a side."""
    return Image.fromarray(np.kron(image, np.ones((factor, factor, 1), dtype=np.uint8)))


def save_png(picture: Image.Image, path: Path) -> Path:
    """Write `picture` whole, and return its path."""
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
    return path


@lru_cache(maxsize=4)
def font(height: int) -> ImageFont.FreeTypeFont:
    """The letters of all figures: DejaVu Sans, which matplotlib brings along."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", height)


def width_of(words: str, height: int) -> int:
    """Width of one line of letters of `height`."""
    return round(font(height).getlength(words))


def _height(n_lines: int, letters: int) -> int:
    return round(n_lines * letters * LINE)


def _wrapped(words: str, width: int, letters: int) -> list[str]:
    """`words` in lines that are no wider than `width`, broken between words."""
    n_letters = max(1, int(width * len(words) / max(1, width_of(words, letters))))
    while n_letters > 1:
        lines = textwrap.wrap(words, n_letters, break_long_words=False)
        if all(width_of(line, letters) <= width for line in lines) or n_letters <= max(
            map(len, words.split())
        ):
            return lines
        n_letters -= 1
    return [words]
