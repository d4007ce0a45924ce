"""Where held-out loss turns while training loss falls on, as in the paper's figure 6a."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    PANEL,
    arm_colour,
    arm_marker,
    as_written,
    finish,
    headline,
    panels_of,
    shared_legend,
)
from mvqlab.results.columns import heading

MEASURES = ("code_loss", "bits_per_image")


def overfitting_curves(table: pd.DataFrame, title: str = "") -> Figure:
    """Held-out losses over steps, and dashed those of training images: a panel a measure, a colour an arm.

    `table` has the columns arm, step, code_loss, bits_per_image, and the last two of training images after
    `seen_`. Lines are means over the runs of an arm, bands reach from the least of them to the most, and a
    mark shows where the mean of held-out images is lowest.
    """
    figure, panels = panels_of(len(MEASURES), len(MEASURES), (9.0, 3.8))
    for axis, measure in zip(panels, MEASURES, strict=True):
        for number, (arm, runs) in enumerate(table.groupby("arm", sort=False)):
            _draw_arm(axis, runs, measure, number, as_written(arm))
        axis.set(xlabel="step", ylabel=heading(measure), ylim=(0.0, None))
        finish(axis, size=PANEL)
    headline(figure, title)
    shared_legend(figure, panels[0], "lower center", ncols=4)
    return figure


def _draw_arm(axis: Axes, runs: pd.DataFrame, measure: str, number: int, arm: str) -> None:
    colour = arm_colour(number)
    at_steps = runs.groupby("step")[[measure, f"seen_{measure}"]]
    means, least, most = at_steps.mean(), at_steps.min(), at_steps.max()
    held_out, seen = means[measure], means[f"seen_{measure}"]
    axis.fill_between(means.index, least[measure], most[measure], color=colour, alpha=0.2, linewidth=0)
    axis.plot(held_out.index, held_out, color=colour, label=f"{arm}: held out")
    axis.plot(seen.index, seen, color=colour, linestyle="--", label=f"{arm}: training")
    turn = held_out.idxmin()
    axis.plot([turn], [held_out[turn]], arm_marker(number), color=colour)
