"""Rival ways to spend codes: what each costs, and what it gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvqlab.plots.style import (
    LEGEND,
    PANEL,
    arm_colour,
    arm_marker,
    as_written,
    finish,
    headline,
    panels_of,
    reach,
)


class Question(NamedTuple):
    """Columns of what it costs and what it gives, and what axes call them."""

    cost: str
    gain: str
    xlabel: str
    ylabel: str


QUESTIONS = (
    Question("bits_per_image", "psnr", "bits an image", "PSNR, dB (up: better)"),
    Question("seconds_per_image", "fid_judge", "seconds to draw an image", "FID of the judge (down: better)"),
)


def rival_trade_offs(table: pd.DataFrame, title: str = "") -> Figure:
    """PSNR over bits, and FID over seconds, of an image, of each `arm`: a row of panels a `data` set.

    `table` has the columns of `QUESTIONS` and the ends of their intervals after `_low` and `_high`, and says
    of each arm whether its `bits_are_bound`: then its mark is hollow. An arm looks the same in all panels.
    """
    sets, arms = (list(dict.fromkeys(table[name])) for name in ("data", "arm"))
    n_columns = len(QUESTIONS)
    figure, panels = panels_of(n_columns * len(sets), n_columns, (10.4, 3.2 * len(sets) + 0.4))
    named: dict[str, Artist] = {}
    for place, axis in enumerate(panels):
        data, question = sets[place // n_columns], QUESTIONS[place % n_columns]
        for row in table[table["data"] == data].to_dict("records"):
            named[row["arm"]] = _draw_arm(axis, row, question, arms.index(row["arm"]))
        axis.set(xlabel=question.xlabel, ylabel=question.ylabel)
        axis.margins(0.08)
        finish(axis, as_written(data), size=PANEL)
    figure.legend(
        [named[arm] for arm in arms], list(map(as_written, arms)), loc="outside right center", **LEGEND
    )
    headline(figure, title)
    return figure


def _draw_arm(axis: Axes, row: dict[Any, Any], question: Question, number: int) -> Artist:
    """One arm's point, with the intervals of both."""
    cost, gain = question.cost, question.gain
    ends = [reach(pd.DataFrame([row]), of, f"{of}_low", f"{of}_high") for of in (gain, cost)]
    look: dict[str, Any] = {"color": arm_colour(number), "marker": arm_marker(number), "markersize": 7}
    look |= {"linestyle": "", "markerfacecolor": "white" if row["bits_are_bound"] else arm_colour(number)}
    mark, *_ = axis.errorbar([row[cost]], [row[gain]], *ends, elinewidth=0.9, capsize=2.5, **look)
    return mark
