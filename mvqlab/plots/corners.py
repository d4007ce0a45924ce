"""What parts of a model bring, each with and without the others."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    arm_colour,
    arm_line,
    arm_marker,
    finish,
    headline,
    panels_of,
    reach,
    shared_legend,
    upright,
)
from mvqlab.results.columns import heading


def corner_lines(means: pd.DataFrame, parts: Sequence[str], title: str = "") -> Figure:
    """A panel a metric: the first of `parts` out and in, to the right; a line for each choice of the others.

    `means` is what `results.summarise` gives by `parts`, which are true or false. Where lines run alike, the
    first part does not ask what else there is; where they lie apart, the others count.
    """
    first, *others = parts
    metrics = list(dict.fromkeys(means["metric"]))
    figure, panels = panels_of(len(metrics), 2, (8.2, 2.9 * -(-len(metrics) // 2)))
    for axis, metric in zip(panels, metrics, strict=True):
        of_metric = means[means["metric"] == metric]
        for number, (chosen, rows) in enumerate(of_metric.groupby(others, sort=True)):
            rows = rows.sort_values(first)
            has = [part for part, is_there in zip(others, chosen, strict=True) if is_there]
            look = {"color": arm_colour(number), "marker": arm_marker(number), "linestyle": arm_line(number)}
            along = [float(place) + 0.02 * (number - 1.5) for place in rows[first]]
            label = " and ".join(has) or f"neither {' nor '.join(others)}"
            axis.errorbar(along, rows["mean"], reach(rows), capsize=3, label=label, **look)
        axis.set_xticks([0, 1], [f"without {first}", f"with {first}"])
        axis.set(ylabel=upright(heading(metric)), xlim=(-0.25, 1.25))
        finish(axis, along="y")
    shared_legend(figure, panels[0], "lower center", ncols=4)
    headline(figure, title)
    return figure
