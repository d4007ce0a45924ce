"""Maps over the grid of regions: a number for each region, in cividis, with the kept regions fenced in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mvqlab.plots.picture_rows import hide_dropped, name_row, picture_grid
from mvqlab.plots.style import MAP_COLOURS, PANEL, SMALL, arm_colour, of_regions
from mvqlab.support.finite import check_finite

OBJECT = arm_colour(4)  # of the line around objects, which no drawing is full of
HALO = [effects.withStroke(linewidth=3.0, foreground="black")]


def map_rows(
    rows: Mapping[str, ArrayLike],
    title: str = "",
    is_kept: ArrayLike | None = None,
    columns: Sequence[str] = (),
    marked: Sequence[int] = (),
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """One labelled row of pictures below the other: maps (n, h, w), each row with its colour bar, and images.

    Images are (n, H, W, 3) bytes. A white line fences in the kept regions of `is_kept` (n, h, w) in every
    map. `columns` names the n columns; `marked` names one region a column, numbered row by row, that gets a
    ring; `limits` fixes the colour scale of a row, which else runs from its least to its largest number.
    Raises ValueError if there is no map among the rows.
    """
    pictures = {label: np.asarray(row) for label, row in rows.items()}
    maps = [row for row in pictures.values() if row.ndim == 3]
    if not maps:
        raise ValueError("map_rows needs a row of maps (n, h, w): for images alone there is image_rows")
    height, width = maps[0].shape[1:]
    n_columns = max(len(row) for row in pictures.values())
    figure, axes = picture_grid(len(pictures), n_columns, title, margin=2.3)
    place = of_regions(height, width)  # one system of coordinates for pictures and maps
    for panels, (label, row) in zip(axes, pictures.items(), strict=True):
        low, high = (limits or {}).get(label, _limits(row))
        for column, (axis, picture) in enumerate(zip(panels, row, strict=False)):
            if row.ndim == 4:
                axis.imshow(picture, **place)
            else:
                # where there is no number, a map is as white as the sheet
                axis.spines[:].set(visible=True, color="0.75", linewidth=0.6)
                drawn = axis.imshow(picture, cmap=MAP_COLOURS, vmin=low, vmax=high, **place)
                if is_kept is not None:
                    fence(axis, np.asarray(is_kept)[column])
            if len(marked):
                ring(axis, *divmod(int(marked[column]), width))
        if row.ndim == 3:
            # beside the last panel and not of its own right: rows with and without a bar stay in line
            bar = figure.colorbar(drawn, cax=panels[-1].inset_axes((1.08, 0.0, 0.09, 1.0)))
            bar.ax.tick_params(labelsize=7)
            if np.array_equal(np.unique(row), (0, 1)):
                bar.set_ticks([0, 1])  # yes or no: nothing lies between
        name_row(panels[0], label)
    for axis, name in zip(axes[0], columns, strict=False):
        axis.set_title(name, fontsize=SMALL)
    return figure


def score_map(
    image: NDArray[np.uint8], scores: ArrayLike, is_kept: ArrayLike, is_object: ArrayLike | None = None
) -> Figure:
    """An image (H, W, 3), the scores (h, w) of its regions as numbers, and the regions (h, w) that are kept.

    `is_object` (H, W) bool, where it is known, is drawn as a line around the objects.
    """
    scores, is_kept = np.asarray(scores), np.asarray(is_kept)
    check_finite("scores of regions", scores)
    height, width = scores.shape
    figure = Figure(figsize=(10.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    place = of_regions(height, width)
    panels[0].imshow(image, **place)
    panels[0].hlines(np.arange(1, height) - 0.5, -0.5, width - 0.5, color="0.75", linewidth=0.4)
    panels[0].vlines(np.arange(1, width) - 0.5, -0.5, height - 0.5, color="0.75", linewidth=0.4)
    panels[0].set_title("image and its regions", fontsize=PANEL)
    drawn = panels[1].imshow(scores, cmap=MAP_COLOURS)
    middle = (scores.min() + scores.max()) / 2.0
    is_narrow = width > 8  # no room for the 0 before the point
    for (row, column), score in np.ndenumerate(scores):
        ink = "white" if score < middle else "black"
        written = f"{score:.2f}".removeprefix("0" if is_narrow else "")
        size = 5 if is_narrow else 7
        panels[1].text(column, row, written, ha="center", va="center", fontsize=size, color=ink)
    fence(panels[1], is_kept)
    panels[1].set_title("score (kept regions fenced in)", fontsize=PANEL)
    figure.colorbar(drawn, ax=panels[1], fraction=0.04, pad=0.02).ax.tick_params(labelsize=7)
    panels[2].imshow(hide_dropped(image, is_kept), **place)
    panels[2].set_title("kept regions", fontsize=PANEL)
    for axis in panels:
        axis.set(xticks=[], yticks=[])
    if is_object is not None:
        _outline_object(panels[0], np.asarray(is_object, dtype=bool), height, width)
    return figure


def fence(axis: Axes, is_kept: NDArray[np.bool_]) -> None:
    """Draw a line between the kept and the dropped regions of `is_kept` (h, w), and along the edge."""
    padded = np.pad(is_kept, 1)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])  # a border to the right of (row, column)
    segments = [((c - 0.5, c - 0.5), (r - 1.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[1:] != padded[:-1])  # below it
    segments += [((c - 1.5, c - 0.5), (r - 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    for x, y in segments:
        axis.plot(x, y, color="white", linewidth=1.3, solid_capstyle="round")


def ring(axis: Axes, row: int, column: int) -> None:
    """A white ring with a dark rim around one region."""
    axis.plot(
        column,
        row,
        marker="o",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor="white",
        markeredgewidth=1.6,
        path_effects=HALO,
        clip_on=False,
    )


def _limits(row: NDArray[np.generic]) -> tuple[float, float]:
    """The colour scale of a row of maps; one that is flat gets a scale all the same."""
    if row.ndim == 4:
        return 0.0, 1.0
    low, high = float(row.min()), float(row.max())
    return low, high if high > low else low + 1.0


def _outline_object(axis: Axes, is_object: NDArray[np.bool_], height: int, width: int) -> None:
    """A line around the object pixels (H, W), drawn in the coordinates of h * w regions."""
    factor = is_object.shape[0] // height
    pixels = np.pad(is_object, 1).astype(float)
    along = (np.arange(-1, is_object.shape[0] + 1) + 0.5) / factor - 0.5
    line = axis.contour(along, along, pixels, levels=[0.5], colors=[OBJECT], linewidths=1.6)
    line.set_path_effects([effects.withStroke(linewidth=2.8, foreground="white")])
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
