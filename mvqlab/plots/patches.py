"""Pieces of images that took the same code, two codes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

GAP = 2  # pixels of white between two pieces


class PatchPair(NamedTuple):
    """Pieces of images (m, s, s, 3), bytes, of one code and of another, and a label for both."""

    label: str
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]


def patch_pairs(rows: Sequence[PatchPair], context: int = 1, title: str = "") -> Figure:
    """A row a pair: to the left the pieces that took the one code, to the right those of the other.

    The frame in the middle of each piece is the coded region; `context` regions of its surroundings are seen
    on every side, as in `code_patches`.
    """
    n = max(len(pieces) for row in rows for pieces in (row.first, row.second))
    figure = Figure(figsize=(1.24 * n + 1.9, 0.72 * len(rows) + 0.6), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for panels, row in zip(axes, rows, strict=True):
        for axis, pieces in zip(panels, (row.first, row.second), strict=True):
            size = pieces.shape[1]
            axis.imshow(_side_by_side(pieces, n))
            for number in range(len(pieces)):
                _frame(axis, number * (size + GAP), size, context)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        panels[0].set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=8)
    for axis, name in zip(
        axes[0], ("regions that took one code", "regions that took the other"), strict=True
    ):
        axis.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _side_by_side(pieces: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """Pieces (m, s, s, 3) in one picture that has room for `n`, white between and behind them."""
    size = pieces.shape[1]
    sheet = np.full((size, n * (size + GAP) - GAP, 3), 255, dtype=np.uint8)
    for number, piece in enumerate(pieces):
        left = number * (size + GAP)
        sheet[:, left : left + size] = piece
    return sheet


def _frame(axis: Axes, left: int, size: int, context: int) -> None:
    region = size / (1 + 2 * context)
    corner = (left + context * region - 0.5, context * region - 0.5)
    axis.add_patch(Rectangle(corner, region, region, fill=False, edgecolor="black", linewidth=2.0))
    axis.add_patch(Rectangle(corner, region, region, fill=False, edgecolor="white", linewidth=0.9))
