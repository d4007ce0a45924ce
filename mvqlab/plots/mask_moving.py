"""The mask ratio moving from 0 to 95 % and back: what is kept of some images, and what comes back of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.sheet import GAP, INK, MARGIN, SMALL, TEXT, Pixels, Row, font, sheet, width_of
from mvqlab.support.files import write_bytes_whole

RATIOS = tuple(round(0.05 * step, 2) for step in range(20))  # shares dropped, 0 to 95 %
STILL_RATIOS = (0.0, 0.5, 0.75, 0.9)
STOP, END, BACK = 450, 1400, 150  # milliseconds: of a stop, of the two ends, of a stop on the way back
MOST_BYTES = 2_000_000  # of the moving file: it is the first thing that a page loads
FACTOR = 2  # pixels of the picture for a pixel of an image of 64


@dataclass(frozen=True)
class Stop:
    """Images at one mask ratio: kept (n, h, w) bool, restored (n, H, W, 3) uint8."""

    mask_ratio: float
    is_kept: NDArray[np.bool_]
    restored: NDArray[np.uint8]

    @property
    def caption(self) -> str:
        """Such as "75 % dropped: 64 of 256 codes"."""
        n_kept, n_regions = int(self.is_kept[0].sum()), self.is_kept[0].size
        return f"{self.mask_ratio:.0%} dropped: {n_kept} of {n_regions} codes".replace("%", " %")


def moving(
    images: NDArray[np.uint8], stops: Sequence[Stop], foot: Sequence[str], factor: int = FACTOR
) -> list[tuple[Image.Image, int]]:
    """Frames and their milliseconds: through `stops` in order, and quickly back, so that it loops.

    images (n, H, W, 3) uint8.
    """
    frames = [_frame(images, stop, foot, factor) for stop in stops]
    forth = [(frame, STOP) for frame in frames]
    forth[0], forth[-1] = (frames[0], END), (frames[-1], END)
    # every third stop is enough for a way that nobody reads
    return forth + [(frame, BACK) for frame in frames[-4:0:-3]]


def stacked(
    images: NDArray[np.uint8], stops: Sequence[Stop], foot: Sequence[str], factor: int = FACTOR
) -> Image.Image:
    """The same standing still, for print: two rows for each of `stops`."""
    rows = []
    for stop in stops:
        dropped, codes = stop.caption.split(": ")
        rows.append(Row(_kept(images, stop), f"{dropped}\n{codes}\nare kept", 3 * GAP))
        rows.append(Row(list(stop.restored), "what\ncomes back"))
    return sheet(rows, factor, foot=foot)


def save_moving(frames: Sequence[tuple[Image.Image, int]], path: Path) -> Path:
    """Write frames as an animated WebP that repeats for ever, whole, and return its path.

    Pixels are exact where the file then has at most `MOST_BYTES`; else edges soften a little.
    """
    exact = _webp(frames, lossless=True, quality=100, method=4)
    content = exact if len(exact) <= MOST_BYTES else _webp(frames, quality=95, method=4)
    write_bytes_whole(path, content)
    return path


def _webp(frames: Sequence[tuple[Image.Image, int]], **how: int) -> bytes:
    pictures, milliseconds = zip(*frames, strict=True)
    file = io.BytesIO()
    more = {"append_images": pictures[1:], "duration": list(milliseconds), "loop": 0}
    pictures[0].save(file, format="WEBP", save_all=True, **more, **how)
    return file.getvalue()


def _frame(images: NDArray[np.uint8], stop: Stop, foot: Sequence[str], factor: int) -> Image.Image:
    header = round(2.2 * TEXT) + GAP
    rows = [Row(_kept(images, stop), "kept"), Row(list(stop.restored), "what\ncomes back")]
    canvas = sheet(rows, factor, foot=foot, header=header)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), stop.caption, INK, font(TEXT + 3))
    _draw_bar(draw, canvas.width, stop.mask_ratio)
    return canvas


def _draw_bar(draw: ImageDraw.ImageDraw, width: int, mask_ratio: float) -> None:
    """A line from 0 to 100 % at the right of the caption, filled as far as `mask_ratio`."""
    right = width - MARGIN - width_of("100 %", SMALL) - GAP
    left, middle = width // 2, MARGIN + TEXT // 2 + 3
    reached = left + round(mask_ratio * (right - left))
    draw.rounded_rectangle((left, middle - 4, right, middle + 4), 4, (226, 226, 226))
    draw.rounded_rectangle((left, middle - 4, max(left + 8, reached), middle + 4), 4, (1, 115, 178))
    draw.ellipse((reached - 8, middle - 8, reached + 8, middle + 8), (1, 115, 178))
    draw.text((left - GAP - 8, middle), "0 %", INK, font(SMALL), "rm")
    draw.text((right + GAP + 4, middle), "100 %", INK, font(SMALL), "lm")


def _kept(images: NDArray[np.uint8], stop: Stop) -> list[Pixels]:
    return [
        hide_dropped(image, is_kept, fading=1.0) for image, is_kept in zip(images, stop.is_kept, strict=True)
    ]
