"""What regions cost when they are left out: how unevenly it falls on them, and what predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mvqlab.plots.redundancy import DASHES

if TYPE_CHECKING:
    from torch import Tensor


def cost_shares(costs: Mapping[str, Tensor], title: str = "") -> Figure:
    """Which share of all cost (B, L) the dearest share of an image's regions carries, a line a name.

    Regions are sorted within each image, and images averaged. Costs below 0 count as 0. The grey line is
    what regions that all cost the same would give.
    """
    figure = Figure(figsize=(5.8, 3.6), layout="constrained")
    axis = figure.subplots()
    for number, (name, values) in enumerate(costs.items()):
        falling = values.clamp(min=0.0).double().sort(dim=1, descending=True).values
        reached = (falling.cumsum(dim=1) / falling.sum(dim=1, keepdim=True)).nanmean(dim=0)
        along = np.arange(len(reached) + 1) / len(reached)
        look = {"color": sns.color_palette("colorblind")[number], "linestyle": DASHES[number % 4]}
        axis.plot(along, [0.0, *reached.tolist()], linewidth=2.0, label=name, **look)
    axis.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linewidth=1.0, label="all regions alike")
    axis.set(xlabel="share of the regions, dearest first", ylabel="share of the cost")
    axis.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02))
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def correlation_dots(table: pd.DataFrame, title: str = "") -> Figure:
    """Means of `correlation` by `predictor`, a mark for each of `guess`, with 95 % intervals over the rows.

    A row of `table` is an image. The line at 0 is chance.
    """
    n_predictors = table["predictor"].nunique()
    figure = Figure(figsize=(7.4, 0.55 * n_predictors + 1.2), layout="constrained")
    axis = figure.subplots()
    sns.pointplot(
        table,
        x="correlation",
        y="predictor",
        hue="guess",
        dodge=0.3,
        markers=["o", "s", "^", "D"][: table["guess"].nunique()],
        linestyle="none",
        palette="colorblind",
        errorbar=("ci", 95),
        seed=0,
        capsize=0.12,
        ax=axis,
    )
    axis.axvline(0.0, color="black", linestyle="--", linewidth=1.0)
    axis.set(xlabel="rank correlation with the cost of a region, within an image", ylabel="")
    axis.set_title(title, fontsize=10)
    axis.grid(axis="x", alpha=0.3)
    sns.move_legend(
        axis, "upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, title="replaced by"
    )
    axis.get_legend().get_title().set_fontsize(8)
    return figure
