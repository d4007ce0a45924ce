"""Curves over steps, and metrics of a grid's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.columns import heading


def curves(table: pd.DataFrame, value: str, ylabel: str, title: str = "") -> Figure:
    """`value` over steps, a colour a `run`, a dash a `split`; the mean of rows of the same run and step."""
    shown = table.dropna(subset=[value])
    n_entries = shown["run"].nunique() + shown["split"].nunique() + 2
    figure = Figure(figsize=(7, 4 + 0.17 * n_entries), layout="constrained")
    axis = figure.subplots()
    sns.lineplot(
        shown, x="step", y=value, hue="run", style="split", palette="colorblind", ax=axis, errorbar=None
    )
    validation = shown[shown["split"] == "validation"].groupby(["run", "step"], sort=False, as_index=False)
    validation = validation[value].mean()
    sns.scatterplot(
        validation, x="step", y=value, hue="run", palette="colorblind", ax=axis, legend=False, s=45
    )
    axis.set(xlabel="step", ylabel=ylabel, title=title)
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    axis.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def lines(table: pd.DataFrame, x: str, y: str, hue: str, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """`y` over `x`, a colour, a dash and a marker for each `hue`."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    sns.lineplot(
        table, x=x, y=y, hue=hue, style=hue, palette="colorblind", markers=table[x].nunique() < 25, ax=axis
    )
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.grid(alpha=0.3)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, title=None)
    return figure


def metric_bars(table: pd.DataFrame, columns: Mapping[str, str], title: str = "") -> Figure:
    """One panel of bars a metric (column name -> axis label), one bar a point of the grid."""
    figure = Figure(figsize=(2.6 * len(columns) + 1.6, 0.42 * len(table) + 1.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    for axis, (column, label) in zip(panels, columns.items(), strict=True):
        sns.barplot(table, x=column, y="label", hue="label", palette="colorblind", ax=axis, legend=False)
        axis.set(xlabel=label, ylabel="")
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
        axis.margins(x=0.2)
    figure.suptitle(title)
    return figure


def summary_lines(summary: pd.DataFrame, x: str, hues: Sequence[str]) -> Figure:
    """What `results.summarise` gives: a panel a metric, its mean and 95 % interval over `x`.

    Numbers `x` run to the right; names stand below each other.
    """
    metrics = list(dict.fromkeys(summary["metric"]))
    is_number = pd.api.types.is_numeric_dtype(summary[x])
    n_columns = min(3, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    height = 3.2 if is_number else 1.2 + 0.3 * summary[x].nunique()
    figure = Figure(figsize=(3.8 * n_columns + 0.6 + bool(hues), height * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=not is_number).flat)
    for axis, metric in zip(panels, metrics, strict=False):
        _intervals(axis, summary[summary["metric"] == metric], x, hues, is_number)
        value, across = heading(metric), heading(x)
        axis.set(xlabel=across if is_number else value, ylabel=value if is_number else "")
        axis.grid(alpha=0.3)
    for axis in panels[len(metrics) :]:
        axis.set_visible(False)
    if not is_number:
        panels[0].invert_yaxis()
    if hues:
        handles, labels = panels[0].get_legend_handles_labels()
        place = {"loc": "outside right upper", "frameon": False, "fontsize": 8}
        figure.legend(handles, labels, title=", ".join(hues), **place)
    n = int(summary["n"].max())
    figure.suptitle(f"Means over {n} seeds, with 95 % intervals" if n > 1 else "One seed", fontsize=10)
    return figure


def _intervals(axis: Axes, rows: pd.DataFrame, x: str, hues: Sequence[str], is_number: bool) -> None:
    """Means and intervals of one metric; groups stand a little beside each other, so that none hides one."""
    groups = list(rows.groupby(list(hues), sort=False)) if hues else [((), rows)]
    places = {value: value if is_number else place for place, value in enumerate(dict.fromkeys(rows[x]))}
    width = (max(places.values()) - min(places.values())) or 1.0
    for number, (name, group) in enumerate(groups):
        aside = 0.012 * width * (number - (len(groups) - 1) / 2)
        along = [places[value] + aside for value in group[x]]
        means, halves = group["mean"].tolist(), (group["high"] - group["mean"]).fillna(0.0).tolist()
        points = (along, means, halves, None) if is_number else (means, along, None, halves)
        axis.errorbar(
            *points,
            label=", ".join(map(str, name)),
            color=sns.color_palette("colorblind")[number % 10],
            marker="os^Dv"[number % 5],
            linestyle="-" if is_number else "",
            capsize=3,
        )
    if not is_number:
        axis.set_yticks(list(places.values()), [str(value) for value in places])


def ratio_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """A benchmark's table: how many times faster each way is than its reference, on a log axis."""
    names = table["work"] + ": " + table["way"]
    figure = Figure(figsize=(10, 0.3 * len(table) + 1.2), layout="constrained")
    axis = figure.subplots()
    sns.barplot(
        x=table["times_faster"], y=names, hue=table["work"], palette="colorblind", ax=axis, legend=False
    )
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
    axis.axvline(1.0, color="0.4", linewidth=1)
    axis.set(xlabel="times faster than the reference (bar at 1)", ylabel="", title=title, xscale="log")
    axis.margins(x=0.15)
    return figure
