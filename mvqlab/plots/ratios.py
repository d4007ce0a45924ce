"""A grid over the mask ratio: differences by seed, rate against distortion, published numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from mvqlab.plots.style import (
    LEGEND,
    PANEL,
    arm_colour,
    arm_line,
    arm_marker,
    as_written,
    drop_repeated_names,
    finish,
    headline,
    reach,
    shared_legend,
)
from mvqlab.results.columns import heading
from mvqlab.results.summary import compare, groups_of, key_of, summarise, value_as_text

Point = tuple[float, float, float]  # a ratio, its bits, its value


def paired_differences(
    table: pd.DataFrame, name: str, first: str, second: str, at: str, metrics: Sequence[str]
) -> Figure:
    """What `name` = `first` gives less what `second` gives, a panel a metric, over the values of `at`.

    Small hollow marks are single seeds, one shape a seed; discs with bars are means with 95 % intervals, as
    `mvqlab.results.summary.compare` has them. Places with one seed have no bar. Raises SummaryError.
    """
    compared = compare(table, name, first, second, [at], metrics)
    rows = table[[key_of(value) in {key_of(first), key_of(second)} for value in table[name].tolist()]]
    figure = Figure(figsize=(3.4 * len(metrics) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axis, metric in zip(panels, metrics, strict=True):
        single = [
            compare(of_seed, name, first, second, [at], [metric]).assign(seed=seed)
            for (seed,), of_seed in groups_of(rows, ["seed"], sort=True)
        ]
        by_seed = pd.concat(single, ignore_index=True)
        _draw_differences(axis, by_seed, compared[compared["metric"] == metric], at)
        axis.set(xlabel=heading(at), ylabel=heading(metric))
    n_labels = len(panels[0].get_legend_handles_labels()[1])
    shared_legend(figure, panels[0], "lower center", ncols=n_labels)
    headline(figure, f"{name}: {first} minus {second}, paired by seed")
    return figure


def _draw_differences(axis: Axes, by_seed: pd.DataFrame, means: pd.DataFrame, at: str) -> None:
    """Single seeds to the left of each place, their mean and interval to the right of it."""
    values = [value for (value,), _ in groups_of(by_seed, [at], sort=True)]
    places = {key_of(value): place for place, value in enumerate(values)}
    for number, (seed, rows) in enumerate(by_seed.groupby("seed")):
        axis.scatter(
            [places[key_of(value)] - 0.16 for value in rows[at].tolist()],
            rows["mean"],
            s=22,
            marker=arm_marker(number),
            facecolors="none",
            edgecolors="0.35",
            label=f"seed {seed}",
        )
    axis.errorbar(
        [places[key_of(value)] + 0.08 for value in means[at].tolist()],
        means["mean"],
        reach(means),
        fmt="o",
        color=arm_colour(0),
        capsize=4,
        label="mean, 95 % interval",
    )
    axis.axhline(0.0, color="black", linewidth=1)
    axis.set_xticks(range(len(values)), [value_as_text(at, value) for value in values])
    axis.set_xlim(-0.6, len(places) - 0.4)
    finish(axis, along="y")


def rate_distortion(
    table: pd.DataFrame, rates: Mapping[str, str], distortion: str = "psnr", hue: str = "mask"
) -> Figure:
    """`distortion` over bits an image, a panel for each of `rates` (column -> axis label), a line a `hue`.

    Points are means over seeds at one mask ratio, which stands beside them in per cent dropped, with the 95 %
    interval of the distortion.
    """
    figure = Figure(figsize=(4.4 * len(rates) + 0.4, 3.8), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    places = [hue, "mask_ratio"]
    for axis, (rate, label) in zip(panels, rates.items(), strict=True):
        found = summarise(table, places, [rate, distortion])
        for number, ((kind,), group) in enumerate(groups_of(found, [hue])):
            points = {
                ratio: rows.set_index("metric")
                for (ratio,), rows in groups_of(group, ["mask_ratio"], sort=True)
            }
            ratios = [ratio for ratio, rows in points.items() if {rate, distortion} <= set(rows.index)]
            bits = [points[ratio].loc[rate, "mean"] for ratio in ratios]
            rows = [points[ratio].loc[distortion] for ratio in ratios]
            axis.errorbar(
                bits,
                [row["mean"] for row in rows],
                reach(pd.DataFrame(rows)),
                color=arm_colour(number),
                marker=arm_marker(number),
                linestyle=arm_line(number),
                capsize=3,
                label=as_written(value_as_text(hue, kind)),
            )
            _name_ratios(axis, ratios, bits, [row["mean"] for row in rows], above=number == 0)
        axis.set(xlabel=label, ylabel=heading(distortion) if axis is panels[0] else "")
        finish(axis)
        axis.margins(x=0.1, y=0.2)
    panels[0].legend(title=heading(hue), **LEGEND, loc="best")
    headline(figure, "Rate against distortion; beside each point the share dropped")
    drop_repeated_names(figure)
    return figure


def bits_and_quality(table: pd.DataFrame, ways: Sequence[str], named: str) -> Figure:
    """PSNR over bits an image, a panel each of `data`, a line each of `ways`; columns bits and psnr besides.

    named: the way beside whose points their `setting` stands, the share of regions that is dropped: above on
    the left, and of the last of several below, where it is clear of the one before.
    """
    sets = list(dict.fromkeys(table["data"]))
    figure = Figure(figsize=(4.2 * len(sets) + 0.4, 4.3), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    lines: dict[str, Line2D] = {}
    for axis, data in zip(panels, sets, strict=True):
        for number, way in enumerate(ways):
            rows = table[(table["data"] == data) & (table["way"] == way)].sort_values("bits")
            rows = rows.drop_duplicates(["bits", "psnr"])  # a codec on the same images stands with each model
            look = {"color": arm_colour(number), "marker": arm_marker(number), "linestyle": arm_line(number)}
            (lines[way],) = axis.plot(rows["bits"], rows["psnr"], **look)
            if way == named:
                points = rows[["setting", "bits", "psnr"]].to_numpy(dtype=float).tolist()
                for number, (ratio, bits, psnr) in enumerate(points, 1):
                    is_last = 1 < number == len(points)
                    where = {
                        "xytext": (-3, -12) if is_last else (-5, 4),
                        "ha": "left" if is_last else "right",
                    }
                    share = f"{ratio:.0%}".replace("%", " %")
                    axis.annotate(share, (bits, psnr), textcoords="offset points", fontsize=7, **where)
        axis.set(xscale="log", xlabel="bits an image", title=as_written(data))
        axis.set_ylabel(heading("psnr") if axis is panels[0] else "")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.xaxis.set_minor_formatter("")
        finish(axis)
    words = [as_written(way) for way in lines]
    figure.legend(list(lines.values()), words, loc="outside lower center", ncols=len(ways), **LEGEND)
    return figure


def beside_published(
    summary: pd.DataFrame, published: pd.DataFrame, metrics: Mapping[str, str], ours: str, theirs: str
) -> Figure:
    """Our means (`results.summarise`) on the left, published numbers on the right, each with its own scale.

    A row for each of `metrics` (our metric -> the published one), over the mask ratio. `ours` and `theirs`
    say what each side was measured on.
    """
    figure = Figure(figsize=(8.4, 2.5 * len(metrics) + 0.5), layout="constrained")
    panels = figure.subplots(len(metrics), 2, squeeze=False, sharex=True)
    for (left, right), (mine, other) in zip(panels, metrics.items(), strict=True):
        rows = summary[summary["metric"] == mine]
        left.errorbar(
            rows["mask_ratio"],
            rows["mean"],
            reach(rows),
            color=arm_colour(0),
            marker="o",
            capsize=3,
        )
        printed = published[published["metric"] == other]
        right.plot(
            printed["mask_ratio"].astype(float),
            printed["value"].astype(float),
            color=arm_colour(1),
            marker="s",
            linestyle="--",
        )
        for axis, name in ((left, heading(mine)), (right, other)):
            axis.set(ylabel=name, ylim=(0.0, 1.06 * axis.get_ylim()[1]))
            finish(axis)
    for axis, words in zip(panels[0], (ours, theirs), strict=True):
        axis.set_title(words, fontsize=PANEL)
    for axis in panels[-1]:
        axis.set_xlabel(heading("mask_ratio"))
    return figure


def _name_ratios(
    axis: Axes, ratios: Sequence[float], bits: Sequence[float], values: Sequence[float], above: bool
) -> None:
    """Write each ratio beside its point: above or below, and where points crowd on all sides of them."""
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
    points = sorted(zip(ratios, bits, values, strict=True), key=lambda point: point[1])
    for crowd in _crowds(points, 0.09 * max(bits), 0.2 * (max(values) - min(values))):
        middle = len(crowd) // 2  # 0 of a single one, which stands on the right
        for side, members in ((-1, crowd[:middle]), (1, crowd[middle:])):
            outermost = sorted(members, key=lambda point: -point[2] if above else point[2])
            turned = side < 0 and len(members) == 1  # away from what stands further left
            for number, (ratio, x, y) in enumerate(outermost):
                is_up, away = above == (number % 2 == turned), 7 + 11 * (number // 2)
                is_share = isinstance(ratio, float)
                words = f"{ratio:.0%}".replace("%", " %") if is_share else value_as_text("", ratio)
                axis.annotate(
                    words,
                    (x, y),
                    (5 * side, away if is_up else -away),
                    textcoords="offset points",
                    ha="left" if side > 0 else "right",
                    va="bottom" if is_up else "top",
                    fontsize=7,
                    bbox=box,
                )


def _crowds(points: Sequence[Point], wide: float, high: float) -> list[list[Point]]:
    """`points`, from left to right, in groups of those that are near to the one before."""
    crowds: list[list[Point]] = []
    for point in points:
        last = crowds[-1][-1] if crowds else None
        if last is not None and point[1] - last[1] < wide and abs(point[2] - last[2]) <= high:
            crowds[-1].append(point)
        else:
            crowds.append([point])
    return crowds
