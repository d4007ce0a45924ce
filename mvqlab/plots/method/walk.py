"""One image on its way through the model: its stations in a row, its codes on the grid, its pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from mvqlab.plots.method.maps import fence
from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.style import MAP_COLOURS, PANEL, SMALL, TITLE, headline, of_regions

if TYPE_CHECKING:
    from torch import Tensor


def principal_maps(features: Tensor, n: int = 3) -> NDArray[np.float32]:
    """The `n` directions in which a feature map (d, h, w) varies most, as maps (n, h, w) without unit.

    Principal components of its regions: what a picture of many channels can show.
    """
    height, width = features.shape[1:]
    regions = features.flatten(1).T.numpy()
    return PCA(n, svd_solver="full").fit_transform(regions).T.reshape(n, height, width).astype(np.float32)


def stations(
    pictures: Mapping[str, ArrayLike],
    title: str = "",
    is_kept: ArrayLike | None = None,
    arrows: bool = True,
) -> Figure:
    """Named pictures in a row, with `arrows` from each to the next.

    A picture is an image (H, W, 3) in bytes or a map (h, w), which gets a colour scale of its own. A white
    line fences in the kept regions of `is_kept` (h, w) in every map.
    """
    figure = Figure(figsize=(1.75 * len(pictures) + 0.2, 2.3), layout="constrained")
    figure.get_layout_engine().set(wspace=0.14 if arrows else 0.04)
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axis, (name, picture) in zip(panels, pictures.items(), strict=True):
        picture = np.asarray(picture)
        axis.imshow(picture, cmap=MAP_COLOURS)
        if is_kept is not None and picture.ndim == 2:
            fence(axis, np.asarray(is_kept))
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(name, fontsize=PANEL)
    for first, second in pairwise(panels) if arrows else ():
        _arrow_between(figure, first, second)
    headline(figure, title)
    return figure


def _arrow_between(figure: Figure, first: Axes, second: Axes) -> None:
    look = {"arrowstyle": "-|>", "color": "0.15", "linewidth": 1.4, "mutation_scale": 11}
    ends = {"coordsA": first.transAxes, "coordsB": second.transAxes}
    arrow = ConnectionPatch((1.03, 0.5), (-0.03, 0.5), **ends, **look)
    arrow.set_in_layout(False)
    figure.add_artist(arrow)


def code_grid(image: NDArray[np.uint8], codes: ArrayLike, positions: ArrayLike, side: int) -> Figure:
    """An image (H, W, 3) with its kept regions, and the codes (N,) at their positions (N,) in the grid."""
    codes, positions = np.asarray(codes), np.asarray(positions)
    is_kept = np.zeros(side * side, dtype=bool)
    is_kept[positions] = True
    place = of_regions(side, side)
    figure = Figure(figsize=(9.4, 4.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(hide_dropped(image, is_kept.reshape(side, side)), **place)
    left.set_title("kept regions", fontsize=TITLE)
    right.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal")
    right.set_title("the code of each; a dropped region has none", fontsize=TITLE)
    for position in np.flatnonzero(~is_kept):
        row, column = divmod(int(position), side)
        corner = (column - 0.5, row - 0.5)
        right.add_patch(
            Rectangle(corner, 1, 1, facecolor="0.93", edgecolor="0.75", hatch="///", linewidth=0.5)
        )
    for code, position in zip(codes, positions, strict=True):
        row, column = divmod(int(position), side)
        right.text(column, row, str(code), ha="center", va="center", fontsize=10 if side <= 8 else 6.5)
    for axis in (left, right):
        ticks = range(0, side, max(1, side // 8))
        axis.set(xticks=ticks, yticks=ticks, xlabel="column", ylabel="row")
        axis.hlines(np.arange(side + 1) - 0.5, -0.5, side - 0.5, color="0.6", linewidth=0.5)
        axis.vlines(np.arange(side + 1) - 0.5, -0.5, side - 0.5, color="0.6", linewidth=0.5)
        axis.tick_params(labelsize=8)
    return figure


def pair_strip(
    image: NDArray[np.uint8], codes: ArrayLike, positions: ArrayLike, side: int, n: int = 10
) -> Figure:
    """The first `n` pairs of an image (H, W, 3) in their order: a region's pixels, its code and place.

    Where there are more, the title says of how many they are the first.
    """
    n_pairs = len(np.asarray(codes))
    codes, positions = np.asarray(codes)[:n], np.asarray(positions)[:n]
    factor = image.shape[0] // side
    figure = Figure(figsize=(1.05 * len(codes) + 1.1, 1.75), layout="constrained")
    if n_pairs > n:
        headline(figure, f"The first {n} of {n_pairs} pairs")
    start, *panels = figure.subplots(1, len(codes) + 1)
    start.text(0.5, 0.5, "start", ha="center", va="center", fontsize=PANEL, style="italic")
    start.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axis, code, position in zip(panels, codes, positions, strict=True):
        row, column = divmod(int(position), side)
        axis.imshow(image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor])
        axis.set_xlabel(f"code {code}\nplace {position}\n(row {row}, col. {column})", fontsize=SMALL)
    for axis in (start, *panels):
        axis.set(xticks=[], yticks=[])
    return figure
