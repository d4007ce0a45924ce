"""Two qualities against each other: who is better in both, and who pays for one with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import ScaledTranslation

from mvqlab.plots.style import (
    LEGEND,
    PALETTE_NAME,
    SMALL,
    arm_colour,
    arm_line,
    arm_marker,
    as_written,
    drop_repeated_names,
    finish,
    headline,
    legend_beside,
    one_panel,
    panels_of,
    reach,
)


def trade_off(
    table: pd.DataFrame,
    x: str,
    y: str,
    group: str,
    label: str,
    xlabel: str,
    ylabel: str,
    title: str = "",
    better: str = "",
    is_log: bool = False,
) -> Figure:
    """Points at columns `x` and `y`, each with its `label`, joined in the table's order within a `group`.

    Columns `<x>_low`, `<x>_high` and the same of `y`, if there are any, are drawn as intervals. A column
    `is_front`, if there is one, leaves points hollow that it says are beaten. `better` is the corner that is
    best ("lower right"), which gets an arrow. `is_log` spreads `x` by its logarithm, to base 2. Groups stand
    three points aside of each other, so that none hides another at the same `x`.
    """
    figure, axis = one_panel(7.4, 4.4)
    if is_log:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
    for number, (name, rows) in enumerate(table.groupby(group, sort=False)):
        aside = ScaledTranslation(3.0 * number / 72.0, 0.0, figure.dpi_scale_trans)
        look = {"color": arm_colour(number), "zorder": 2, "transform": axis.transData + aside}
        line = arm_line(number) if len(rows) > 1 else ""
        bars = {"elinewidth": 0.9, "capsize": 2.5}
        axis.errorbar(rows[x], rows[y], _reach(rows, y), _reach(rows, x), linestyle=line, **bars, **look)
        look |= {"marker": arm_marker(number), "s": 46, "linewidth": 1.4, "zorder": 3}
        is_front = rows["is_front"] if "is_front" in rows else pd.Series(True, index=rows.index)
        axis.scatter(rows[x][is_front], rows[y][is_front], label=as_written(name), **look)
        axis.scatter(rows[x][~is_front], rows[y][~is_front], **look).set_facecolor("white")
        offset = (3 * number + 6, 5) if number else (-5, -13)  # of the mark, which stands aside
        for place, words in zip(rows[[x, y]].to_numpy(), rows[label], strict=True):
            axis.annotate(as_written(words), tuple(place), offset, textcoords="offset points", fontsize=SMALL)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    finish(axis, title)
    for end in ("", "_low", "_high"):  # what is drawn aside of its place does not widen the axes by itself
        columns = [f"{name}{end}" if f"{name}{end}" in table else name for name in (x, y)]
        axis.update_datalim(table[columns].dropna().to_numpy())
    axis.margins(0.09)
    axis.autoscale_view()
    if better:
        _point_to(axis, better)
    legend_beside(axis)
    drop_repeated_names(figure)
    return figure


def precision_recall_plane(table: pd.DataFrame, title: str = "") -> Figure:
    """Columns `recall` and `precision`, colour by `model`, marker by `way`; best is the upper right."""
    figure, axis = one_panel(6.6, 4.0)
    sns.scatterplot(
        table, x="recall", y="precision", hue="model", style="way", palette=PALETTE_NAME, s=85, ax=axis
    )
    left, bottom = (max(0.0, float(table[column].min()) - 0.06) for column in ("recall", "precision"))
    axis.set(xlabel="recall: share of real images covered", ylabel="precision: share of samples plausible")
    axis.set(xlim=(left, 1.02), ylim=(bottom, 1.02))
    finish(axis, title)
    legend_beside(axis)
    return figure


def precision_recall_curves(table: pd.DataFrame, title: str = "") -> Figure:
    """What `judged_over_temperature` gives of each `model`: a curve each, from cold to warm.

    Columns `recall`, `precision`, `model` and `temperature`, which stands beside the ends of a curve and its
    middle. A row without one, such as of other real images, is a point of its own. With a column `data` a
    panel each, since judges of different data do not compare; a model has the same look in all of them.
    """
    if "data" not in table:
        table = table.assign(data="")
    sets = list(dict.fromkeys(table["data"]))
    models = list(dict.fromkeys(table["model"]))
    size = (3.7 * len(sets) + 2.2, 4.1)
    figure, panels = panels_of(len(sets), len(sets), size, sharex=True, sharey=True)
    for axis, data in zip(panels, sets, strict=True):
        for model, rows in table[table["data"] == data].groupby("model", sort=False):
            _draw_curve(axis, rows.sort_values("temperature"), models.index(model), as_written(str(model)))
        axis.set_xlabel("recall: share of real images covered")
        axis.set_ylabel("precision: share of samples plausible" if axis is panels[0] else "")
        axis.margins(0.08)
        finish(axis, as_written(data) or title)
    named: dict[str, Artist] = {}
    for axis in panels:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    figure.legend(list(named.values()), list(named), loc="outside right upper", **LEGEND)
    headline(figure, title if sets != [""] else "")
    return figure


def _draw_curve(axis: Axes, along: pd.DataFrame, number: int, name: str) -> None:
    """One model's curve, or the point of images that have no temperature."""
    look = {"color": arm_colour(number), "marker": arm_marker(number), "linestyle": arm_line(number)}
    axis.plot(along["recall"], along["precision"], label=name, markersize=4.5, **look)
    places = along[["temperature", "recall", "precision"]].dropna().to_numpy()
    for place in sorted({0, len(places) // 2, len(places) - 1}) if len(places) else []:
        temperature, recall, precision = places[place]
        where = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": SMALL}
        axis.annotate(f"{temperature:g}", (recall, precision), **where)


def rounds(seconds: Mapping[str, Sequence[float]], xlabel: str, title: str = "") -> Figure:
    """What `side_by_side` gives: a row a name, a bar to the median, a dot a round."""
    figure, axis = one_panel(6.8, 0.55 * len(seconds) + 1.1)
    colour = arm_colour(0)
    for place, values in enumerate(seconds.values()):
        axis.barh(place, np.median(values), height=0.55, color=colour, alpha=0.45)
        axis.scatter(values, np.full(len(values), place), s=18, color="black", zorder=3)
        axis.annotate(f"{np.median(values):.3g}", (max(values), place), (7, 0),
                      textcoords="offset points", va="center", fontsize=SMALL)  # fmt: skip
    axis.set_yticks(range(len(seconds)), [as_written(name) for name in seconds])
    axis.invert_yaxis()
    axis.set(xlabel=xlabel, xlim=(0.0, 1.15 * max(max(values) for values in seconds.values())))
    finish(axis, title, along="x")
    return figure


def _reach(rows: pd.DataFrame, column: str) -> np.ndarray | None:
    """As `style.reach`, of a column with its ends beside it; None where it has none."""
    ends = f"{column}_low", f"{column}_high"
    return reach(rows, column, *ends) if ends[0] in rows else None


def _point_to(axis: Axes, corner: str) -> None:
    """A short arrow into the `corner` that is best, with the word."""
    vertical, horizontal = corner.split()
    tip = (0.97 if horizontal == "right" else 0.03, 0.96 if vertical == "upper" else 0.04)
    tail = tuple(0.5 + 0.83 * (end - 0.5) for end in tip)
    arrow = {"arrowstyle": "-|>", "color": "0.35", "linewidth": 1.4}
    axis.annotate(
        "better", tip, tail, xycoords="axes fraction", textcoords="axes fraction", arrowprops=arrow,
        fontsize=SMALL, color="0.35", ha="center", va="center",
    )  # fmt: skip
