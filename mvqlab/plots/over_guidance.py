"""How often images have what was asked for, over the weight of guidance."""

from __future__ import annotations

import textwrap

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.trade_off import MARKERS

COLUMNS = 4  # panels beside each other
LINES = ("-", "--", "-.")  # dots are chance


def accuracy_over_guidance(table: pd.DataFrame, title: str = "") -> Figure:
    """What `evaluation.attributes.guidance` gives: a panel an attribute, a line a part that was guided.

    Bars are 95 % intervals. Two lines across say what could be reached at most: what the detector finds in
    real pictures of the same scenes, and in those after stage 1. Dotted is chance. The detector is named
    below. Several models' tables may be joined if no attribute is in two of them.
    """
    attributes = list(dict.fromkeys(table["attribute"]))
    n_columns = min(COLUMNS, len(attributes))
    n_rows = -(-len(attributes) // n_columns)
    figure = Figure(figsize=(2.5 * n_columns + 1.9, 2.5 * n_rows + 0.9), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).flat)
    for axis, attribute in zip(panels, attributes, strict=False):
        _draw(axis, table[table["attribute"] == attribute])
        axis.set_title(attribute, fontsize=9)
    for axis in panels[len(attributes) :]:
        axis.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    judges = "; ".join(dict.fromkeys(table["judge"]))
    figure.supxlabel(
        "weight of guidance (0: told nothing, 1: off)\n"
        + textwrap.fill(f"found by the {judges}", 34 * n_columns + 20),
        fontsize=8,
    )
    figure.supylabel("found, of what was asked for", fontsize=9)
    return figure


def _draw(axis: Axes, rows: pd.DataFrame) -> None:
    palette = sns.color_palette("colorblind")
    for column, label, style, shade in (
        ("real_accuracy", "real pictures", "-", "black"),
        ("restored_accuracy", "real, after stage 1", "--", "0.45"),
    ):
        axis.axhline(rows[column].iloc[0], color=shade, linestyle=style, linewidth=1.3, label=label)
    names = list(dict.fromkeys(rows["guided"]))
    reach = rows["guidance"].max() - rows["guidance"].min()
    for number, name in enumerate(names):
        group = rows[rows["guided"] == name].sort_values("guidance")
        colour = palette[number % len(palette)]
        ends = [group["accuracy"] - group["accuracy_low"], group["accuracy_high"] - group["accuracy"]]
        aside = 0.025 * reach * (number - (len(names) - 1) / 2)
        along = group["guidance"] + aside
        look = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "markersize": 5, "capsize": 2.5}
        style = LINES[number % len(LINES)]
        axis.errorbar(along, group["accuracy"], ends, linestyle=style, label=f"guided: {name}", **look)
        axis.plot(along, group["chance"], color=colour, linestyle=":", linewidth=1.2)
    axis.plot([], [], color="0.3", linestyle=":", linewidth=1.2, label="chance, same colour")
    axis.set(ylim=(0.0, 1.03))
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
