"""How often images show what was asked for, over guidance: attribute by attribute, and in all."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    PANEL,
    SMALL,
    arm_colour,
    arm_line,
    arm_marker,
    as_written,
    finish,
    headline,
    panels_of,
    reach,
    shared_legend,
)

COLUMNS, WIDE_COLUMNS = 4, 3  # panels beside each other
EQUAL = 1e-4  # shares that differ by less are the same, as tables keep them


def guidance_lines(table: pd.DataFrame, title: str = "") -> Figure:
    """What `evaluation.attributes.guidance` gives: a panel an attribute, a line a part that was guided.

    Bars are 95 % intervals. Two lines across say what could be reached at most: what the detector finds in
    real pictures of the same scenes, and in those after stage 1. Dotted is chance. The detector is named
    below. Several models' tables may be joined if no attribute is in two of them. Where all images were asked
    for the same, as for the count of scenes with one object, chance finds as much, and there is no panel.
    """
    differs = (table["accuracy"] - table["chance"]).abs() > EQUAL
    attributes = [
        name for name in dict.fromkeys(table["attribute"]) if differs[table["attribute"] == name].any()
    ]
    n_columns = min(COLUMNS, len(attributes))
    n_rows = -(-len(attributes) // n_columns)
    size = 2.5 * n_columns + 1.9, 2.5 * n_rows + 0.9
    figure, panels = panels_of(len(attributes), n_columns, size, sharey=True)
    for axis, attribute in zip(panels, attributes, strict=True):
        _draw_accuracies(axis, table[table["attribute"] == attribute])
        axis.set_title(attribute, fontsize=PANEL)
    shared_legend(figure, panels[0], "right center")
    headline(figure, title)
    judges = "; ".join(dict.fromkeys(table["judge"]))
    figure.supxlabel(
        "weight of guidance (0: told nothing, 1: off)\n"
        + textwrap.fill(f"found by the {judges}", 34 * n_columns + 20),
        fontsize=SMALL,
    )
    figure.supylabel("found, of what was asked for", fontsize=PANEL)
    return figure


def _draw_accuracies(axis: Axes, rows: pd.DataFrame) -> None:
    for column, label, style, shade in (
        ("real_accuracy", "real pictures", "-", "black"),
        ("restored_accuracy", "real, after stage 1", "--", "0.45"),
    ):
        axis.axhline(rows[column].iloc[0], color=shade, linestyle=style, linewidth=1.3, label=label)
    names = list(dict.fromkeys(rows["guided"]))
    span = rows["guidance"].max() - rows["guidance"].min()
    for number, name in enumerate(names):
        group = rows[rows["guided"] == name].sort_values("guidance")
        colour = arm_colour(number)
        ends = reach(group, "accuracy", "accuracy_low", "accuracy_high")
        aside = 0.025 * span * (number - (len(names) - 1) / 2)
        along = group["guidance"] + aside
        look = {"color": colour, "marker": arm_marker(number), "markersize": 5, "capsize": 2.5}
        style = arm_line(number)
        axis.errorbar(along, group["accuracy"], ends, linestyle=style, label=f"guided: {name}", **look)
        axis.plot(along, group["chance"], color=colour, linestyle=":", linewidth=1.2)
    axis.plot([], [], color="0.3", linestyle=":", linewidth=1.2, label="chance, same colour")
    axis.set(ylim=(0.0, 1.03))
    finish(axis)
    axis.tick_params(labelsize=8)


def asked_for_over_guidance(table: pd.DataFrame, title: str = "") -> Figure:
    """What `evaluation.attributes.class_asked_for` gives, with a column `model`.

    A panel a measure, a line a model. Bars are exact 95 % intervals. Lines across: what is right of real
    images (black), and of these after the stage 1 of each model (dotted, in the model's colour).
    """
    measures = list(dict.fromkeys(table["measure"]))
    n_columns = min(WIDE_COLUMNS, len(measures))
    n_rows = -(-len(measures) // n_columns)
    figure, panels = panels_of(len(measures), n_columns, (4.2 * n_columns, 3.9 * n_rows + 0.2))
    for axis, measure in zip(panels, measures, strict=True):
        _draw_shares(axis, table[table["measure"] == measure])
        axis.set_title(measure.replace("_judge_", ", judge of ").replace("_", " "), fontsize=PANEL)
    headline(figure, title)
    return figure


def _filled(words: str) -> str:
    return textwrap.fill(words, 60, break_on_hyphens=False)


def _draw_shares(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axhline(rows["real_share"].iloc[0], color="black", linewidth=1.2, label="real images")
    names = list(dict.fromkeys(rows["model"]))
    span = rows["guidance"].max() - rows["guidance"].min()
    for number, name in enumerate(names):
        group = rows[rows["model"] == name].sort_values("guidance")
        colour = arm_colour(number)
        axis.axhline(group["restored_share"].iloc[0], color=colour, linestyle=":", linewidth=1.2)
        ends = reach(group, "share")
        along = group["guidance"] + 0.02 * span * (number - (len(names) - 1) / 2)
        look = {"color": colour, "markersize": 5, "capsize": 2.5, "marker": arm_marker(number)}
        style = arm_line(number)
        axis.errorbar(along, group["share"], ends, label=as_written(name), linestyle=style, **look)
    only = arm_colour(0) if len(names) == 1 else "0.4"  # of several models each has its own
    axis.plot([], [], color=only, linestyle=":", linewidth=1.2, label="real, after its stage 1")
    axis.set_xlabel(
        "weight of guidance (1: off)\n" + _filled(f"judged by {rows['judge'].iloc[0]}"), fontsize=7
    )
    axis.set_ylabel("share that shows what was asked for", fontsize=SMALL)
    axis.set_xticks(sorted(rows["guidance"].unique()))
    axis.set_ylim(min(0.95, 0.98 * rows["low"].min()) if rows["low"].min() > 0.5 else 0.0, 1.01)
    finish(axis)
    axis.tick_params(labelsize=8)
    axis.legend(frameon=False, fontsize=7, loc="best")
