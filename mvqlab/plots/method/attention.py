"""Attention of the de-mask module: its matrices, the trust over its layers, and whom places listen to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mvqlab.plots.style import (
    MAP_COLOURS,
    PALETTE_NAME,
    PANEL,
    SMALL,
    TITLE,
    finish,
    headline,
    legend_beside,
    one_panel,
    shared_legend,
)

if TYPE_CHECKING:
    from torch import Tensor


def attention_matrices(matrices: Mapping[str, Tensor], is_kept: Tensor, title: str = "") -> Figure:
    """Matrices (L, L) with kept places first, on one colour scale; lines part kept from dropped places.

    `is_kept` (L,) bool. A row is a place that listens, a column one that is listened to. The strip to the
    right of each matrix holds its row sums.
    """
    order = np.argsort(~is_kept.numpy(), kind="stable")
    n_kept, n_places = int(is_kept.sum()), len(is_kept)
    figure = Figure(figsize=(4.5 * len(matrices) + 0.8, 4.2), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    sorted_matrices = {name: matrix.numpy()[np.ix_(order, order)] for name, matrix in matrices.items()}
    high = max(float(np.quantile(matrix, 0.995)) for matrix in sorted_matrices.values())
    for axis, (name, matrix) in zip(panels, sorted_matrices.items(), strict=True):
        drawn = axis.imshow(matrix, cmap=MAP_COLOURS, vmin=0.0, vmax=high)
        axis.axhline(n_kept - 0.5, color="white", linewidth=1.3)
        axis.axvline(n_kept - 0.5, color="white", linewidth=1.3)
        middles = [n_kept / 2 - 0.5, (n_kept + n_places) / 2 - 0.5]
        axis.set_xticks(middles, ["kept", "dropped"], fontsize=SMALL)
        axis.set_yticks(middles, ["kept", "dropped"], fontsize=SMALL, rotation=90, va="center")
        axis.tick_params(length=0)
        axis.set(xlabel="listened to (key)", ylabel="listens (query)")
        axis.set_title(name, fontsize=PANEL)
        sums = axis.inset_axes((1.03, 0.0, 0.16, 1.0))
        sums.barh(np.arange(n_places), matrix.sum(axis=1), height=1.0, color="0.4")
        sums.set(ylim=(n_places - 0.5, -0.5), xlim=(0.0, 1.05), yticks=[], xticks=[0, 1])
        sums.tick_params(labelsize=7)
        sums.set_xlabel("row sum", fontsize=SMALL)
    bar = figure.colorbar(drawn, ax=list(panels), shrink=0.8, aspect=25, pad=0.02, extend="max")
    bar.set_label("attention", fontsize=SMALL)
    bar.ax.tick_params(labelsize=7)
    headline(figure, title)
    return figure


def trust_over_layers(curves: Mapping[str, ArrayLike], used: int = 0, title: str = "") -> Figure:
    """The trust in a dropped place in layer 1, 2, ..., a line a name; `used` marks a model's last layer."""
    table = pd.DataFrame(
        [
            {"layer": layer, "trust": float(value), "name": name}
            for name, values in curves.items()
            for layer, value in enumerate(np.asarray(values), start=1)
        ]
    )
    figure, axis = one_panel(6.6, 3.5)
    sns.lineplot(
        table, x="layer", y="trust", hue="name", style="name", markers=True, palette=PALETTE_NAME, ax=axis
    )
    if used:
        axis.axvspan(0.75, used + 0.25, color="0.9", zorder=0)
        axis.text(0.8, 1.03, f"the model here: {used}", fontsize=SMALL, va="bottom")
    axis.set(xlabel="layer", ylabel="trust B in a dropped place", ylim=(0.0, 1.12), title=title)
    axis.set_xticks(sorted(table["layer"].unique()))
    axis.title.set_fontsize(TITLE)
    finish(axis)
    legend_beside(axis)
    return figure


def kept_shares(table: pd.DataFrame, chance: float, title: str = "") -> Figure:
    """The share of attention on kept places by `layer`, a bar for each of `weights`, a panel a `query`.

    The line at `chance` is what uniform attention would give.
    """
    queries = list(dict.fromkeys(table["query"]))
    figure = Figure(figsize=(3.6 * len(queries) + 1.6, 3.3), layout="constrained")
    panels = figure.subplots(1, len(queries), sharey=True, squeeze=False)[0]
    for axis, query in zip(panels, queries, strict=True):
        rows = table[table["query"] == query]
        sns.barplot(rows, x="layer", y="share", hue="weights", palette=PALETTE_NAME, ax=axis, alpha=0.85)
        for bars, hatch in zip(axis.containers, ("", "//", ".."), strict=False):
            for bar in bars:
                bar.set(hatch=hatch, edgecolor="white")
                place = (bar.get_x() + bar.get_width() / 2.0, 0.03)
                plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                axis.text(*place, f"{bar.get_height():.2f}", ha="center", fontsize=SMALL, bbox=plate)
        axis.axhline(chance, color="black", linestyle="--", linewidth=1.2, label="uniform attention")
        axis.set(xlabel="layer", ylabel="share of attention on kept places", ylim=(0.0, 1.05))
        axis.set_title(query, fontsize=PANEL)
        axis.get_legend().remove()
    shared_legend(figure, panels[0], "center right")
    headline(figure, title)
    return figure
