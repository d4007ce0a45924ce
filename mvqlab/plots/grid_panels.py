"""Curves over steps, and metrics of a grid's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    LEGEND,
    PALETTE_NAME,
    SMALL,
    arm_colour,
    arm_marker,
    as_written,
    finish,
    headline,
    legend_beside,
    one_panel,
    panels_of,
    reach,
    shared_legend,
    upright,
)
from mvqlab.results.columns import heading
from mvqlab.results.summary import groups_of, key_of, value_as_text

MANY = 40  # lines, bars or names that a figure still shows one by one


def curves(table: pd.DataFrame, value: str, ylabel: str, title: str = "") -> Figure:
    """`value` over steps, a colour a `run`, a dash a `split`; the mean of rows of the same run and step."""
    shown = table.dropna(subset=[value])
    shown = shown.assign(run=shown["run"].map(as_written))
    n_entries = shown["run"].nunique() + shown["split"].nunique() + 2
    figure, axis = one_panel(7, 4 + 0.17 * n_entries)
    sns.lineplot(
        shown, x="step", y=value, hue="run", style="split", palette=PALETTE_NAME, ax=axis, errorbar=None
    )
    validation = shown[shown["split"] == "validation"].groupby(["run", "step"], sort=False, as_index=False)
    validation = validation[value].mean()
    sns.scatterplot(
        validation, x="step", y=value, hue="run", palette=PALETTE_NAME, ax=axis, legend=False, s=45
    )
    axis.set(xlabel="step", ylabel=ylabel, title=title)
    axis.set_yscale("log")
    finish(axis)
    handles, labels = axis.get_legend_handles_labels()
    axis.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower left", **LEGEND)
    return figure


def lines(table: pd.DataFrame, x: str, y: str, hue: str, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """`y` over `x`, a colour, a dash and a marker for each `hue`."""
    figure, axis = one_panel(6.4, 3.6)
    table = table.assign(**{hue: table[hue].map(as_written)})
    sns.lineplot(
        table, x=x, y=y, hue=hue, style=hue, palette=PALETTE_NAME, markers=table[x].nunique() < 25, ax=axis
    )
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    finish(axis)
    legend_beside(axis)
    return figure


def metric_bars(table: pd.DataFrame, columns: Mapping[str, str], title: str = "") -> Figure:
    """One panel of bars a metric (column name -> axis label), one bar a point of the grid."""
    figure = Figure(figsize=(2.6 * len(columns) + 1.6, 0.42 * len(table) + 1.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    named = table.assign(label=table["label"].map(as_written))
    for axis, (column, label) in zip(panels, columns.items(), strict=True):
        sns.barplot(named, x=column, y="label", hue="label", palette=PALETTE_NAME, ax=axis, legend=False)
        axis.set(xlabel=as_written(label), ylabel="")
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.3g", fontsize=SMALL, padding=2)
        axis.margins(x=0.2)
    figure.suptitle(as_written(title))
    return figure


def summary_lines(
    summary: pd.DataFrame, x: str, hues: Sequence[str], seeds: pd.DataFrame | None = None
) -> Figure:
    """What `results.summarise` gives: a panel a metric, its mean and 95 % interval over `x`.

    seeds: the points that the means are over, each of which is a small hollow mark. Numbers `x` run to the
    right; names, truth, null and what is mixed stand below each other. More than MANY lines are one of
    medians, with the range of nine tenths of them.
    """
    n_seeds, n_lines = (
        int(summary["n"].max()),
        len(set(zip(*(_keys(summary, hue) for hue in hues), strict=True))),
    )
    least = int(summary["n"].min())
    how_many = f"{n_seeds}" if least == n_seeds else f"{least} to {n_seeds}"
    what = f"Means over {how_many} seeds, with 95 % intervals" if n_seeds > 1 else "One seed"
    if n_lines > MANY:
        summary, hues, seeds = _nine_tenths(summary, x), [], None
        what = f"Medians of {n_lines} lines, with the range of nine tenths of them"
    if seeds is not None and n_seeds > 1:
        what += " (hollow: each seed)"
    metrics = list(dict.fromkeys(summary["metric"]))
    is_number = {key[0] for key in _keys(summary, x)} == {key_of(1)[0]}
    # of all panels alike, also where some have no value of a metric, as plain VQ of the scores'
    names = list(dict(zip(_keys(summary, x), summary[x].tolist(), strict=True)).values())
    n_places = len(names)
    n_columns = 2 if len(metrics) == 4 else min(3, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    height = 3.2 if is_number else 1.2 + 0.3 * min(n_places, MANY)
    size = 3.8 * n_columns + 0.6 + bool(hues), height * n_rows
    figure, panels = panels_of(len(metrics), n_columns, size, sharey=not is_number)
    for axis, metric in zip(panels, metrics, strict=True):
        _intervals(axis, summary[summary["metric"] == metric], x, hues, None if is_number else names, seeds)
        value, across = as_written(heading(metric)), as_written(heading(x))
        axis.set(xlabel=across if is_number else value, ylabel=upright(value) if is_number else "")
        finish(axis)
    if not is_number:
        panels[0].invert_yaxis()
    if hues:
        shared_legend(figure, panels[0], "right upper", title=", ".join(hues), title_fontsize=SMALL)
    headline(figure, what)
    return figure


def _keys(table: pd.DataFrame, name: str) -> list[tuple[Any, ...]]:
    return [key_of(value) for value in table[name].tolist()]


def _nine_tenths(summary: pd.DataFrame, x: str) -> pd.DataFrame:
    """`summary` with one row for each `x` and metric: the median of the means, and where 5 and 95 % lie."""
    rows = []
    for (value, metric), group in groups_of(summary, [x, "metric"]):
        low, middle, high = group["mean"].quantile([0.05, 0.5, 0.95])
        rows.append({x: value, "metric": metric, "n": len(group), "mean": middle, "low": low, "high": high})
    return pd.DataFrame(rows)


def _intervals(
    axis: Axes,
    rows: pd.DataFrame,
    x: str,
    hues: Sequence[str],
    names: Sequence[Any] | None,
    seeds: pd.DataFrame | None = None,
) -> None:
    """Means and intervals of one metric; groups stand a little beside each other, so that none hides one.

    names: the values of `x` from the top down; None: they are numbers, which run to the right.
    """
    is_number = names is None
    of_seeds = {} if seeds is None else _by_group(seeds, rows["metric"].iloc[0], x, hues)
    groups = list(groups_of(rows, hues))
    values = rows[x].tolist() if names is None else names
    places = {key_of(value): value if is_number else place for place, value in enumerate(values)}
    width = (max(places.values()) - min(places.values())) or 1.0
    for number, (name, group) in enumerate(groups):
        aside = 0.012 * width * (number - (len(groups) - 1) / 2)
        along = [places[key] + aside for key in _keys(group, x)]
        means, ends = group["mean"].tolist(), reach(group)
        points = (along, means, ends, None) if is_number else (means, along, None, ends)
        axis.errorbar(
            *points,
            label=as_written(", ".join(map(value_as_text, hues, name))),
            color=arm_colour(number),
            marker=arm_marker(number),
            linestyle="-" if is_number else "",
            capsize=3,
        )
        own = of_seeds.get(tuple(map(key_of, name)), [])
        dots = [places[place] + aside for place, _ in own], [value for _, value in own]
        axis.scatter(
            *(dots if is_number else dots[::-1]),
            s=18,
            zorder=3,
            facecolors="none",
            edgecolors=arm_colour(number),
            linewidths=0.8,
        )
    if names is not None:
        step = -(-len(values) // MANY)  # where names would lie on each other, each second or third is written
        written = range(0, len(values), step)
        axis.set_yticks(list(written), [as_written(value_as_text(x, values[place])) for place in written])


def _by_group(
    seeds: pd.DataFrame, metric: str, x: str, hues: Sequence[str]
) -> dict[tuple[Any, ...], list[tuple[Any, float]]]:
    """The values of `metric` and the keys of their `x`, by the keys of `hues`."""
    found: dict[tuple[Any, ...], list[tuple[Any, float]]] = {}
    for values, group in groups_of(seeds.dropna(subset=[metric]), hues):
        key = tuple(map(key_of, values))
        found[key] = list(zip(_keys(group, x), group[metric].astype(float), strict=True))
    return found


def metric_spread(table: pd.DataFrame, columns: Mapping[str, str], title: str = "") -> Figure:
    """One panel a metric (column name -> axis label): how its values are spread over many points."""
    figure = Figure(figsize=(3.0 * len(columns) + 0.6, 3.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(columns)))
    for axis, (column, label) in zip(panels, columns.items(), strict=True):
        values = table[column].replace([np.inf, -np.inf], np.nan).dropna().astype(float)
        axis.hist(values, bins=40, color=arm_colour(0))
        if len(values):
            axis.axvline(values.median(), color="black", linestyle="--", linewidth=1, label="median")
        axis.set(xlabel=as_written(label), ylabel="points" if axis is panels[0] else "")
        axis.legend(**LEGEND)
    headline(figure, as_written(title))
    return figure


def curve_range(table: pd.DataFrame, value: str, ylabel: str, title: str = "") -> Figure:
    """`value` over steps in the table that `curves` takes, of many runs: medians and nine tenths of them."""
    figure, axis = one_panel(7, 4)
    for number, (split, rows) in enumerate(table.dropna(subset=[value]).groupby("split", sort=False)):
        look: dict[str, Any] = {"color": arm_colour(number)}
        low, middle, high = (rows.groupby("step")[value].quantile(share) for share in (0.05, 0.5, 0.95))
        axis.fill_between(middle.index, low, high, alpha=0.25, linewidth=0, **look)
        look |= {"linestyle": ("-", "--")[number % 2], "marker": "o" if len(middle) < 3 else ""}
        axis.plot(middle.index, middle, label=split, **look)
    axis.set(xlabel="step", ylabel=ylabel, title=title, yscale="log")
    finish(axis)
    axis.legend(**LEGEND, title="median; band: nine tenths of the runs")
    return figure


def ratio_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """A benchmark's table: how many times faster each way is than its reference, on a log axis."""
    names = (table["work"] + ": " + table["way"]).map(as_written)
    figure, axis = one_panel(10, 0.3 * len(table) + 1.2)
    sns.barplot(
        x=table["times_faster"], y=names, hue=table["work"], palette=PALETTE_NAME, ax=axis, legend=False
    )
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.3g", fontsize=SMALL, padding=2)
    axis.axvline(1.0, color="0.4", linewidth=1)
    axis.set(xlabel="times faster than the reference (bar at 1)", ylabel="", title=title, xscale="log")
    axis.margins(x=0.15)
    return figure
