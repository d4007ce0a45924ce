"""What runs say of the hypotheses of a protocol on one page: each effect, its interval, what would matter."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from mvqlab.plots.style import LEGEND, SMALL, arm_colour, finish, headline, one_panel
from mvqlab.results.protocol import FAILS, HOLDS, OPEN, in_words

LOOKS = {  # colour, marker, filled
    HOLDS: (arm_colour(2), "o", True),
    FAILS: (arm_colour(3), "s", True),
    OPEN: ((0.45, 0.45, 0.45), "D", False),
}
FARTHEST = 6.0  # effects that matter, beyond which a mark stands at the edge, with an arrow
LETTERS = 78  # of a line of words beside a row
ROW, MARGIN = 0.29, 1.5  # inches


def verdict_chart(found: pd.DataFrame, claims: Mapping[int, str], title: str = "") -> Figure:
    """A row a hypothesis of `found` (see `results.protocol.verdicts`) that has seeds, under its claim's name.

    Along: the difference of the two arms in units of the smallest that matters, to the right where it has the
    sign that is claimed, with its 95 % interval (not corrected for many tests; colours are). Within the grey
    band differences do not matter. Beside each row: the number of seeds. What lies beyond 6 stands at the
    edge with an arrow. Raises ValueError where nothing has seeds.
    """
    rows = found[found["n"] > 0]
    if rows.empty:
        raise ValueError("no hypothesis has been run: there is nothing to draw")
    places, names = _places(rows, claims)
    n_lines = max(places.values()) + 1
    figure, axis = one_panel(9.6, ROW * n_lines + MARGIN)
    axis.axvspan(-1.0, 1.0, color="0.92", zorder=0)
    axis.axvline(0.0, color="0.35", linewidth=0.9)
    for index, row in rows.iterrows():
        _draw_row(axis, row, places[index])
    margin = blended_transform_factory(axis.transAxes, axis.transData)
    for place, name in names:
        axis.text(
            -0.02, place, name, transform=margin, fontsize=SMALL, fontweight="bold", ha="right", va="center"
        )
    words = [textwrap.fill(in_words(row), LETTERS) for row in rows.to_dict("records")]
    axis.set_yticks([places[index] for index in rows.index], words)
    axis.tick_params(axis="y", labelsize=SMALL, length=0)
    axis.set(xlim=(-FARTHEST - 0.5, FARTHEST + 0.5), ylim=(n_lines - 0.4, -0.7))
    axis.set_xlabel(
        "difference, in units of the smallest that matters (grey); right: as claimed", fontsize=SMALL
    )
    finish(axis, along="x")
    _name_verdicts(figure)
    headline(figure, title)
    return figure


def _places(rows: pd.DataFrame, claims: Mapping[int, str]) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """The line of each of `rows`, by its index, and the lines that name claims, counted from above."""
    places: dict[int, int] = {}
    names: list[tuple[int, str]] = []
    line = 0
    for claim, group in rows.groupby("part_of", sort=True):
        assert isinstance(claim, int)
        names.append((line, f"{claim}. {claims.get(claim, '')}"))
        for index in group.index:
            line += 1
            places[index] = line
        line += 1
    return places, names


def _point_outwards(axis: Axes, edge: float, place: int, colour: tuple[float, float, float]) -> None:
    """An arrow from the `edge` on: what stands there goes further."""
    tip = edge + math.copysign(0.4, edge)
    axis.annotate("", (tip, place), (edge, place), arrowprops={"arrowstyle": "->", "color": colour})


def _draw_row(axis: Axes, row: pd.Series, place: int) -> None:
    """One effect with its interval, signed so that what is claimed lies to the right."""
    sign = 1.0 if row["direction"] == "higher" else -1.0
    mean, *ends = (sign * float(row[name]) / float(row["effect"]) for name in ("mean", "low", "high"))
    colour, marker, is_filled = LOOKS[row["verdict"]]
    if row["n"] > 1:
        low, high = (min(max(end, -FARTHEST), FARTHEST) for end in sorted(ends))
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        for end in ends:
            if abs(end) > FARTHEST:
                _point_outwards(axis, math.copysign(FARTHEST, end), place, colour)
    shown = min(max(mean, -FARTHEST), FARTHEST)
    axis.plot(
        shown, place, marker, color=colour, markerfacecolor=colour if is_filled else "white", markersize=6
    )
    if shown != mean:
        _point_outwards(axis, shown, place, colour)
    axis.annotate(
        f"n = {row['n']}",
        (1.01, place),
        xycoords=("axes fraction", "data"),
        fontsize=7,
        va="center",
        color="0.35",
    )


def _name_verdicts(figure: Figure) -> None:
    handles = [
        Line2D(
            [], [], color=colour, marker=marker, markerfacecolor=colour if is_filled else "white", label=name
        )
        for name, (colour, marker, is_filled) in LOOKS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **LEGEND)
