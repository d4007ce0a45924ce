"""Regions: their scores against the true objects, and what they cost when they are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    LEGEND,
    PALETTE_NAME,
    SMALL,
    TITLE,
    arm_colour,
    arm_line,
    finish,
    headline,
    legend_beside,
    one_panel,
)

if TYPE_CHECKING:
    from torch import Tensor


def score_histogram(scores: Tensor, important: Tensor, threshold: float | None = None) -> Figure:
    """Scores (n, L) of regions that lie on an object, `important` (n, L) bool, and of the others.

    Each group's bars add up to one. `threshold` draws a line, such as the score from which regions are kept.
    """
    figure, axis = one_panel(6.4, 3.2)
    bins = np.linspace(float(scores.min()), float(scores.max()), 31)
    groups = (
        ("on an object", important, arm_colour(1), "//"),
        ("beside the objects", ~important, arm_colour(0), ""),
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
    axis.legend(**LEGEND)
    finish(axis)
    return figure


def mask_agreement(table: pd.DataFrame, title: str = "") -> Figure:
    """AUC and IoU of kinds of masks (the index) with the true objects, a row a kind.

    `table` holds the fields of `ImportanceAgreement` as columns. The line at 0.5 is the AUC of chance; a bar
    of the IoU stands between two marks: what as many regions give that are drawn at random, and at best.
    """
    figure = Figure(figsize=(8.6, 0.5 * len(table) + 1.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colour = arm_colour(0)
    places = np.arange(len(table))
    for axis, column in ((left, "score_auc"), (right, "kept_iou")):
        axis.barh(places, table[column], height=0.55, color=colour)
        for place, value in zip(places, table[column], strict=True):
            axis.annotate(
                f"{value:.2f}", (0.0, place), (5, 0), textcoords="offset points", va="center", color="white"
            )
        finish(axis, along="x")
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
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, **LEGEND)
    headline(figure, title)
    return figure


def auc_over_steps(table: pd.DataFrame, kind: str, title: str = "") -> Figure:
    """`auc` over `step`, a line a `seed`; colour, dash and marker say the column `kind`."""
    figure, axis = one_panel(6.8, 3.4)
    sns.lineplot(
        table,
        x="step",
        y="auc",
        hue=kind,
        style=kind,
        units="seed",
        estimator=None,
        markers=True,
        palette=PALETTE_NAME,
        ax=axis,
    )
    axis.axhline(0.5, color="black", linestyle="--", linewidth=1.0)
    axis.text(table["step"].max(), 0.51, "chance", ha="right", va="bottom", fontsize=SMALL)
    axis.set(xlabel="step", ylabel="AUC, score against object", ylim=(-0.03, 1.03), title=title)
    axis.title.set_fontsize(TITLE)
    axis.xaxis.get_major_locator().set_params(integer=True)
    finish(axis)
    legend_beside(axis)
    return figure


def cost_shares(costs: Mapping[str, Tensor], title: str = "") -> Figure:
    """Which share of all cost (B, L) the dearest share of an image's regions carries, a line a name.

    Regions are sorted within each image, and images averaged. Costs below 0 count as 0. The grey line is
    what regions that all cost the same would give.
    """
    figure, axis = one_panel(5.8, 3.6)
    for number, (name, values) in enumerate(costs.items()):
        falling = values.clamp(min=0.0).double().sort(dim=1, descending=True).values
        reached = (falling.cumsum(dim=1) / falling.sum(dim=1, keepdim=True)).nanmean(dim=0)
        along = np.arange(len(reached) + 1) / len(reached)
        look = {"color": arm_colour(number), "linestyle": arm_line(number)}
        axis.plot(along, [0.0, *reached.tolist()], linewidth=2.0, label=name, **look)
    axis.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linewidth=1.0, label="all regions alike")
    axis.set(xlabel="share of the regions, dearest first", ylabel="share of the cost")
    axis.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02))
    finish(axis, title)
    axis.legend(**LEGEND, loc="lower right")
    return figure


def correlation_dots(table: pd.DataFrame, title: str = "") -> Figure:
    """Means of `correlation` by `predictor`, a mark for each of `guess`, with 95 % intervals over the rows.

    A row of `table` is an image. The line at 0 is chance.
    """
    n_predictors = table["predictor"].nunique()
    figure, axis = one_panel(7.4, 0.55 * n_predictors + 1.2)
    sns.pointplot(
        table,
        x="correlation",
        y="predictor",
        hue="guess",
        dodge=0.3,
        markers=["o", "s", "^", "D"][: table["guess"].nunique()],
        linestyle="none",
        palette=PALETTE_NAME,
        errorbar=("ci", 95),
        seed=0,
        capsize=0.12,
        ax=axis,
    )
    axis.axvline(0.0, color="black", linestyle="--", linewidth=1.0)
    axis.set(xlabel="rank correlation with the cost of a region, within an image", ylabel="")
    finish(axis, title, along="x")
    legend_beside(axis, "replaced by")
    return figure
