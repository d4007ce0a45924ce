"""An image as a sequence: the order of its pairs, which logits depend on which pair, what is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.style import (
    LEGEND,
    MAP_COLOURS,
    PANEL,
    SMALL,
    arm_colour,
    finish,
    headline,
    of_regions,
    panels_of,
)

if TYPE_CHECKING:
    from torch import Tensor

RIM = [effects.withStroke(linewidth=2.5, foreground="white")]


def pair_orders(
    image: NDArray[np.uint8], orders: Mapping[str, ArrayLike], side: int, title: str = ""
) -> Figure:
    """An image (H, W, 3) and, for each named order of positions (N,), which pair (from 1) stands where."""
    figure = Figure(figsize=(2.9 * (len(orders) + 1), 3.1), layout="constrained")
    panels = figure.subplots(1, len(orders) + 1)
    place = of_regions(side, side)
    panels[0].imshow(image, **place)
    panels[0].set_title("image", fontsize=PANEL)
    for axis, (name, positions) in zip(panels[1:], orders.items(), strict=True):
        positions = np.asarray(positions)
        is_kept = np.zeros(side * side, dtype=bool)
        is_kept[positions] = True
        axis.imshow(hide_dropped(image, is_kept.reshape(side, side)), **place)
        for number, position in enumerate(positions, start=1):
            row, column = divmod(int(position), side)
            size = 8 if side <= 8 else 5
            axis.text(column, row, str(number), ha="center", va="center", fontsize=size, path_effects=RIM)
        axis.set_title(name, fontsize=PANEL)
    for axis in panels:
        axis.set(xticks=[], yticks=[])
        axis.hlines(np.arange(1, side) - 0.5, -0.5, side - 0.5, color="0.75", linewidth=0.4)
        axis.vlines(np.arange(1, side) - 0.5, -0.5, side - 0.5, color="0.75", linewidth=0.4)
    headline(figure, title)
    return figure


def logit_change_maps(rows: Mapping[str, Mapping[str, Tensor]], title: str = "") -> Figure:
    """Maps (N, N) of changes, one row of panels a change, one column a kind of logits.

    Row n of a map is the pair that was changed, column m the prediction that moved, both from 1. Colour is
    the logarithm of the change; white is exactly no change. On the dashed line n = m.
    """
    maps = {(a, b): np.asarray(values) for a, row in rows.items() for b, values in row.items()}
    columns = list(next(iter(rows.values())))
    logs = {key: np.log10(np.where(values > 0, values, np.nan)) for key, values in maps.items()}
    finite = np.concatenate([values[np.isfinite(values)] for values in logs.values()])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 0.0)
    figure = Figure(figsize=(3.1 * len(columns) + 1.4, 2.9 * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, change in zip(panels, rows, strict=True):
        for axis, kind in zip(line, columns, strict=True):
            n = len(logs[change, kind])
            extent = (0.5, n + 0.5, n + 0.5, 0.5)
            drawn = axis.imshow(logs[change, kind], cmap=MAP_COLOURS, vmin=low, vmax=high, extent=extent)
            axis.plot([0.5, n + 0.5], [0.5, n + 0.5], color="black", linestyle="--", linewidth=1.0)
            axis.set_xlabel(f"logits of {kind} m", fontsize=PANEL)
            axis.set_ylabel(f"{change} n", fontsize=PANEL)
            axis.tick_params(labelsize=8)
    bar = figure.colorbar(drawn, ax=list(panels.flat), fraction=0.05, pad=0.03)
    bar.set_label("log10 of the largest change of a logit\n(white: exactly none)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=8)
    headline(figure, title)
    return figure


def laws(
    laws: Mapping[str, ArrayLike], before: ArrayLike, n_shown: int = 40, title: str = "", columns: int = 3
) -> Figure:
    """Named probabilities (n,) as bars, the choices sorted by falling `before` (n,), which is outlined.

    Each panel says how many choices are left and how many bits one draw holds. Only the `n_shown` likeliest
    choices are drawn.
    """
    before = np.asarray(before)
    order = np.argsort(-before, kind="stable")[:n_shown]
    n_rows = -(-len(laws) // columns)
    figure, panels = panels_of(len(laws), columns, (3.1 * columns, 2.0 * n_rows + 0.4), sharex=True)
    colour = arm_colour(0)
    for axis, (name, law) in zip(panels, laws.items(), strict=True):
        law = np.asarray(law, dtype=float)
        along = np.arange(1, len(order) + 1)
        axis.bar(along, law[order], width=1.0, color=colour, edgecolor="white", linewidth=0.3)
        axis.step(along, before[order], where="mid", color="black", linewidth=0.9)
        left = law[law > 0]
        bits = -(left * np.log2(left)).sum() + 0.0
        facts = f"{len(left)} choice{'s' * (len(left) > 1)}\n{bits:.1f} bits"
        axis.text(0.97, 0.93, facts, ha="right", va="top", fontsize=SMALL, transform=axis.transAxes)
        axis.set_title(name, fontsize=PANEL)
        axis.tick_params(labelsize=8)
    figure.supxlabel("choices, likeliest first", fontsize=PANEL)
    figure.supylabel("probability", fontsize=PANEL)
    headline(figure, title)
    return figure


def loss_by_place(
    losses: Mapping[str, ArrayLike], chance: Mapping[str, ArrayLike | float], title: str = ""
) -> Figure:
    """Nats of pair 1, 2, ...: a panel and a solid line a name of `losses` (N,), dashed what `chance` gives.

    A chance is one number, or one a pair (N,); its name begins with that of the loss which it belongs to.
    """
    figure = Figure(figsize=(4.3 * len(losses) + 0.3, 3.3), layout="constrained")
    panels = figure.subplots(1, len(losses), squeeze=False)[0]
    for axis, (name, values) in zip(panels, losses.items(), strict=True):
        along = np.arange(1, len(np.asarray(values)) + 1)
        axis.plot(along, values, color=arm_colour(0), marker="o", markersize=3, label=name)
        mine: Sequence[tuple[str, ArrayLike | float]] = [
            item for item in chance.items() if item[0].startswith(name)
        ]
        for (label, level), style, shade in zip(mine, ("--", ":"), ("black", "0.35"), strict=False):
            line = np.broadcast_to(np.asarray(level, dtype=float), along.shape)
            axis.plot(along, line, color=shade, linestyle=style, linewidth=1.4, label=label)
        _label(axis, "pair of the sequence", "nats")
    headline(figure, title)
    return figure


def _label(axis: Axes, xlabel: str, ylabel: str) -> None:
    axis.set(xlabel=xlabel, ylabel=ylabel, ylim=(0.0, None))
    axis.legend(**LEGEND, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    finish(axis)
