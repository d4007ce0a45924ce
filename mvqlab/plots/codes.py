"""Codes: among the features that choose them, how redundant they are, and pieces of images that took them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mvqlab.plots.style import (
    LEGEND,
    MAP_COLOURS,
    PANEL,
    SMALL,
    TITLE,
    arm_colour,
    arm_line,
    arm_marker,
    finish,
    headline,
    legend_beside,
    one_panel,
    shared_legend,
)

if TYPE_CHECKING:
    from torch import Tensor

GAP = 2  # pixels of white between two pieces


def spectra(shares: Mapping[str, Tensor], ranks: Mapping[str, float], title: str = "") -> Figure:
    """Falling shares (r,) of singular values over their number, a line a name; its effective rank is written.

    A dotted line, with the marker of its name, stands at each effective rank: so many equal shares would
    have the same entropy.
    """
    figure, axis = one_panel(6.6, 3.4)
    for number, (name, falling) in enumerate(shares.items()):
        look = {"color": arm_colour(number), "marker": arm_marker(number)}
        label = f"{name}: effective rank {ranks[name]:.1f}"
        along = np.arange(1, len(falling) + 1)
        axis.plot(along, falling, arm_line(number), markersize=4, label=label, **look)
        axis.axvline(ranks[name], color=look["color"], linestyle=":", linewidth=1.4)
        top = axis.get_xaxis_transform()  # across in components, up from 0 to 1
        axis.plot(ranks[name], 0.94, transform=top, markersize=7, linestyle="", **look)
    axis.set(xlabel="number of the component", ylabel="share of the singular values", ylim=(0.0, None))
    finish(axis, title)
    axis.legend(**LEGEND)
    return figure


def distance_curves(
    distances: Mapping[str, Tensor],
    twins: Mapping[str, Tensor] | None = None,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Which share of the codes has its nearest other code within a distance, a solid curve a name.

    `distances` (K,) are shares of the mean distance between codes; nan is left out. `twins` are drawn thin
    and dashed in the same colour: distances of something to compare with. `threshold` draws a line.
    """
    figure, axis = one_panel(7.4, 3.6)
    for number, (name, values) in enumerate(distances.items()):
        colour, marker = arm_colour(number), arm_marker(number)
        along = values[~values.isnan()].numpy()
        axis.ecdf(along, color=colour, label=name, marker=marker, markevery=0.2, linewidth=2.0)
        if twins is not None:
            look = {"color": colour, "marker": marker, "markevery": 0.2, "markersize": 4}
            axis.ecdf(
                twins[name].numpy(), linestyle="--", linewidth=1.0, label=f"normal twin of {name}", **look
            )
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle=":", linewidth=1.4)
        axis.text(threshold, 1.02, f"near-duplicates lie left of {threshold:g}", fontsize=SMALL)
    axis.set(
        xlabel="distance to the nearest other code, share of the mean distance", ylabel="share of the codes"
    )
    axis.set(xlim=(0.0, None), ylim=(0.0, 1.0))
    axis.set_title(title, fontsize=TITLE, pad=16)
    finish(axis)
    legend_beside(axis)
    return figure


def code_density(
    counts: Mapping[str, Tensor],
    distances: Mapping[str, Tensor],
    coverage: Mapping[str, Tensor],
    title: str = "",
) -> Figure:
    """Every code by how often it is chosen, `counts` (K,), and the distance (K,) to the nearest other one.

    A panel a name. Colour and shape say what it stands for: `coverage` (K,) is the mean share of object
    pixels in its regions; codes under one half are discs, others triangles. Codes not in use are left out.
    """
    figure = Figure(figsize=(4.2 * len(counts) + 0.8, 3.7), layout="constrained")
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, occurrences) in zip(panels, counts.items(), strict=True):
        for is_object, marker, label in ((False, "o", "mostly ground"), (True, "^", "mostly object")):
            members = (occurrences > 0) & ((coverage[name] >= 0.5) == is_object)
            drawn = axis.scatter(
                occurrences[members],
                distances[name][members],
                c=coverage[name][members],
                cmap=MAP_COLOURS,
                vmin=0.0,
                vmax=1.0,
                marker=marker,
                s=26,
                edgecolors="0.3",
                linewidths=0.4,
                label=f"{label} ({int(members.sum())} codes)",
            )
        axis.set(xlabel="times chosen", xscale="log")
        finish(axis, name, size=PANEL)
        for handle in axis.legend(**LEGEND, loc="lower left").legend_handles:
            handle.set(array=None, facecolor="white")  # the shape alone: the first code's colour says nothing
    panels[0].set(ylabel="distance to the nearest other code", ylim=(0.0, None))
    bar = figure.colorbar(drawn, ax=list(panels), aspect=25, pad=0.02)
    bar.set_label("share of object pixels", fontsize=SMALL)
    bar.ax.tick_params(labelsize=7)
    headline(figure, title)
    return figure


class Cloud(NamedTuple):
    """Features (M, 2), codes (K, 2), and how often each code was chosen (K,)."""

    features: Tensor
    codes: Tensor
    counts: Tensor


def code_clouds(clouds: Mapping[str, Cloud], title: str = "", axis_name: str = "dimension") -> Figure:
    """A panel a cloud: features as dots, codes in use as discs that grow with use, unused ones as crosses.

    Where there are many codes the discs are smaller, so that they do not hide each other. All panels show the
    same part of the plane.
    """
    figure = Figure(figsize=(3.4 * len(clouds) + 0.4, 4.4), layout="constrained")
    across, up = _square_limits(
        [points for cloud in clouds.values() for points in (cloud.features, cloud.codes)]
    )
    for axis, (name, cloud) in zip(
        figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items(), strict=True
    ):
        is_used = cloud.counts > 0
        scale = min(1.0, 100 / len(cloud.codes))
        sizes = scale * (20 + 130 * (cloud.counts[is_used] / cloud.counts.max().clamp(min=1)).numpy())
        axis.scatter(*cloud.features.T.numpy(), s=4, color="0.72", linewidths=0, label="features")
        axis.scatter(
            *cloud.codes[is_used].T.numpy(),
            s=sizes,
            color=arm_colour(0),
            edgecolors="white",
            linewidths=1.5 * scale**0.5,
            label="codes in use",
        )
        axis.scatter(
            *cloud.codes[~is_used].T.numpy(), s=28, color=arm_colour(3), marker="x", label="codes not in use"
        )
        axis.set(xlabel=f"{axis_name} 1", ylabel=f"{axis_name} 2")
        axis.set_title(f"{name}\n{int(is_used.sum())} of {len(is_used)} codes in use", fontsize=PANEL)
        axis.set(xlim=across, ylim=up)
        axis.set_aspect("equal", adjustable="box")
    shared_legend(figure, axis, "lower center", ncols=3)
    headline(figure, title)
    return figure


def _square_limits(clouds: Sequence[Tensor]) -> list[tuple[float, float]]:
    """From where to where both axes run if a square is to hold all points (n, 2), with a margin."""
    points = np.concatenate([cloud.numpy() for cloud in clouds])
    low, high = points.min(axis=0), points.max(axis=0)
    reach = 0.55 * float((high - low).max()) or 1.0
    return [(middle - reach, middle + reach) for middle in ((low + high) / 2).tolist()]


class Cells(NamedTuple):
    """Features (M, 2), codes (K, 2), and what says which code a feature of any (m, 2) gets: indices (m,)."""

    features: Tensor
    codes: Tensor
    nearest: Callable[[Tensor], Tensor]


def code_cells(quantisers: Mapping[str, Cells], title: str = "", finest: int = 300) -> Figure:
    """A panel a quantiser: the plane cut into cells, a line between what gets one code and what another.

    Features are dots; codes that one of them gets are discs, others crosses, left out where they lie outside
    the panel. All panels show the same part of the plane, on `finest` points a side.
    """
    together = np.concatenate([cells.features.numpy() for cells in quantisers.values()])
    low, high = together.min(axis=0), together.max(axis=0)
    (left, bottom), (right, top) = low - 0.12 * (high - low), high + 0.12 * (high - low)
    height = 3.1 * min(1.5, (top - bottom) / (right - left))  # inches of a panel
    figure = Figure(figsize=(3.1 * len(quantisers) + 0.3, height + 1.0), layout="constrained")
    plane = np.meshgrid(np.linspace(left, right, finest), np.linspace(bottom, top, finest))
    points = np.stack(plane, axis=2).reshape(-1, 2)  # (rows upwards, columns, 2) -> (m, 2)
    panels = figure.subplots(1, len(quantisers), squeeze=False)[0]
    for axis, (name, cells) in zip(panels, quantisers.items(), strict=True):
        owners = cells.nearest(cells.features.new_tensor(points)).numpy().reshape(finest, finest)
        is_used = np.isin(np.arange(len(cells.codes)), cells.nearest(cells.features).numpy())
        _draw_borders(axis, owners, (left, right, bottom, top))
        axis.scatter(*cells.features.numpy().T, s=4, color="0.6", linewidths=0, label="features")
        look = {"s": 46, "color": arm_colour(0), "edgecolors": "white", "linewidths": 1.2, "zorder": 3}
        axis.scatter(*cells.codes.numpy()[is_used].T, label="codes in use", **look)
        unused = {"s": 28, "color": arm_colour(3), "marker": "x", "zorder": 3}
        axis.scatter(*cells.codes.numpy()[~is_used].T, label="codes not in use", **unused)
        axis.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], aspect="equal")
        axis.set_title(f"{name}\n{is_used.sum()} of {len(is_used)} codes in use", fontsize=PANEL)
    shared_legend(figure, panels[0], "lower center", ncols=3)
    headline(figure, title)
    return figure


def _draw_borders(axis: Axes, owners: NDArray[np.int64], extent: tuple[float, float, float, float]) -> None:
    """A line wherever neighbours of `owners` (rows, columns), the upmost row last, are not the same."""
    is_border = np.zeros(owners.shape, dtype=bool)
    is_border[:, 1:] |= owners[:, 1:] != owners[:, :-1]
    is_border[1:] |= owners[1:] != owners[:-1]
    ink = np.where(is_border[..., None], (0.25, 0.25, 0.25, 1.0), (1.0, 1.0, 1.0, 0.0))
    axis.imshow(ink, extent=extent, origin="lower", interpolation="antialiased", zorder=0)


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
        panels[0].set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=SMALL)
    for axis, name in zip(
        axes[0], ("regions that took one code", "regions that took the other"), strict=True
    ):
        axis.set_title(name, fontsize=PANEL)
    headline(figure, title)
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
