"""Scores against the true objects: how they part the regions, how kinds of masks compare, how they learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from torch import Tensor


def score_histogram(scores: Tensor, important: Tensor, threshold: float | None = None) -> Figure:
    """Scores (n, L) of regions that lie on an object, `important` (n, L) bool, and of the others.

    Each group's bars add up to one. `threshold` draws a line, such as the score from which regions are kept.
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    palette = sns.color_palette("colorblind")
    bins = np.linspace(float(scores.min()), float(scores.max()), 31)
    groups = (
        ("on an object", important, palette[1], "//"),
        ("beside the objects", ~important, palette[0], ""),
    )
    for name, members, colour, hatch in groups:
        chosen = scores[members].numpy()
        shares = np.full(len(chosen), 1.0 / max(1, len(chosen)))
        look = {"alpha": 0.55, "color": colour, "hatch": hatch, "edgecolor": "0.25", "linewidth": 0.5}
        axis.hist(chosen, bins, weights=shares, label=f"{name} ({len(chosen)} regions)", **look)
    if threshold is not None:
        axis.axvline(
            threshold, color="black", linestyle="--", linewidth=1.2, label="lowest kept score (median)"
        )
    axis.set(xlabel="score", ylabel="share of the group's regions")
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def mask_agreement(table: pd.DataFrame, title: str = "") -> Figure:
    """AUC and IoU of kinds of masks (the index) with the true objects, a row a kind.

    `table` holds the fields of `ImportanceAgreement` as columns. The line at 0.5 is the AUC of chance; a bar
    of the IoU stands between two marks: what as many regions give that are drawn at random, and at best.
    """
    figure = Figure(figsize=(8.6, 0.5 * len(table) + 1.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colour = sns.color_palette("colorblind")[0]
    places = np.arange(len(table))
    for axis, column in ((left, "score_auc"), (right, "kept_iou")):
        axis.barh(places, table[column], height=0.55, color=colour)
        for place, value in zip(places, table[column], strict=True):
            axis.annotate(
                f"{value:.2f}", (0.0, place), (5, 0), textcoords="offset points", va="center", color="white"
            )
        axis.grid(axis="x", alpha=0.3)
    left.axvline(0.5, color="black", linestyle="--", linewidth=1.2, label="chance")
    right.scatter(
        table["kept_iou_chance"], places, marker="|", s=150, linewidths=2.2, color="black", label="chance"
    )
    right.scatter(
        table["kept_iou_best"],
        places,
        marker="D",
        s=30,
        edgecolor="white",
        color="black",
        label="best possible",
    )
    left.set(xlabel="AUC of the scores", xlim=(0.0, 1.02), yticks=places, yticklabels=table.index)
    right.set(xlabel="IoU of the kept regions and the objects", xlim=(0.0, None))
    left.invert_yaxis()
    for axis in (left, right):
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def auc_over_steps(table: pd.DataFrame, kind: str, title: str = "") -> Figure:
    """`auc` over `step`, a line a `seed`; colour, dash and marker say the column `kind`."""
    figure = Figure(figsize=(6.8, 3.4), layout="constrained")
    axis = figure.subplots()
    sns.lineplot(
        table,
        x="step",
        y="auc",
        hue=kind,
        style=kind,
        units="seed",
        estimator=None,
        markers=True,
        palette="colorblind",
        ax=axis,
    )
    axis.axhline(0.5, color="black", linestyle="--", linewidth=1.0)
    axis.text(table["step"].max(), 0.51, "chance", ha="right", va="bottom", fontsize=8)
    axis.set(xlabel="step", ylabel="AUC, score against object", ylim=(-0.03, 1.03), title=title)
    axis.title.set_fontsize(10)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, title=None)
    return figure
