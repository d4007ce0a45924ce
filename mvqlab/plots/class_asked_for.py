"""How often samples show what was asked for, over the weight of guidance: a line a model."""

from __future__ import annotations

import textwrap

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.trade_off import LINES, MARKERS
from mvqlab.plots.words import as_written

COLUMNS = 3  # panels beside each other


def asked_for_over_guidance(table: pd.DataFrame, title: str = "") -> Figure:
    """What `evaluation.attributes.class_asked_for` gives, with a column `model`.

    A panel a measure, a line a model.

    Bars are exact 95 % intervals. Lines across: what is right of real images (black), and of these after the
    stage 1 of each model (dotted, in the model's colour).
    """
    measures = list(dict.fromkeys(table["measure"]))
    n_columns = min(COLUMNS, len(measures))
    n_rows = -(-len(measures) // n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 3.9 * n_rows + 0.2), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axis, measure in zip(panels, measures, strict=False):
        _draw(axis, table[table["measure"] == measure])
        axis.set_title(measure.replace("_", " "), fontsize=9)
    for axis in panels[len(measures) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw(axis: Axes, rows: pd.DataFrame) -> None:
    palette = sns.color_palette("colorblind")
    axis.axhline(rows["real_share"].iloc[0], color="black", linewidth=1.2, label="real images")
    names = list(dict.fromkeys(rows["model"]))
    reach = rows["guidance"].max() - rows["guidance"].min()
    for number, name in enumerate(names):
        group = rows[rows["model"] == name].sort_values("guidance")
        colour = palette[number % len(palette)]
        axis.axhline(group["restored_share"].iloc[0], color=colour, linestyle=":", linewidth=1.2)
        ends = [group["share"] - group["low"], group["high"] - group["share"]]
        along = group["guidance"] + 0.02 * reach * (number - (len(names) - 1) / 2)
        look = {"color": colour, "markersize": 5, "capsize": 2.5, "marker": MARKERS[number % len(MARKERS)]}
        style = LINES[number % len(LINES)]
        axis.errorbar(along, group["share"], ends, label=as_written(name), linestyle=style, **look)
    axis.plot([], [], color="0.4", linestyle=":", label="real, after its stage 1")
    axis.set_xlabel(
        "weight of guidance (1: off)\n" + textwrap.fill(f"judged by {rows['judge'].iloc[0]}", 60), fontsize=7
    )
    axis.set_ylabel("share that shows what was asked for", fontsize=8)
    axis.set_xticks(sorted(rows["guidance"].unique()))
    axis.set_ylim(min(0.95, 0.98 * rows["low"].min()) if rows["low"].min() > 0.5 else 0.0, 1.01)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
    axis.legend(frameon=False, fontsize=7, loc="best")
