"""The method as a street: what becomes of an image, step after step, and which notebook lives where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from numpy.typing import NDArray

SIDE = 5  # regions along a side of the drawn grids
ICON = 1.2  # side of a station's picture; all lengths are inches
GAP = 0.8  # between two pictures
UPPER, LOWER = 2.1, 0.5  # heights of the two streets: lower edge of the pictures, middle of the pairs
DARK, PALE = "0.15", "0.93"


class Step(NamedTuple):
    """A module on the way from one station to the next, and the notebooks that are about it."""

    name: str
    notebooks: Sequence[int]


STATIONS = ("image", "feature map", "scores", "kept regions", "codes", "inferred features", "reconstruction")
STEPS = (
    Step("encode", ()),
    Step("score", (3,)),
    Step("keep", (5,)),
    Step("quantise", (1, 2)),
    Step("de-mask", (4,)),
    Step("decode", ()),
)


def street() -> Figure:
    """The stations of an image in stage 1, and stage 2 below; house numbers are those of the notebooks."""
    width = len(STATIONS) * (ICON + GAP)
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.25, width - GAP + 0.25), ylim=(0.0, 4.2), aspect="equal")
    axis.axis("off")
    scores = _toy_scores()
    is_kept = scores >= np.sort(scores.ravel())[-(SIDE * SIDE // 2)]
    pictures = (_picture, _features, _scores, _kept, _codes, _inferred, _picture)
    for number, (name, draw) in enumerate(zip(STATIONS, pictures, strict=True)):
        draw(axis, _left(number), UPPER, scores, is_kept)
        axis.text(_left(number) + ICON / 2, UPPER - 0.08, name, ha="center", va="top", fontsize=10)
    for number, step in enumerate(STEPS):
        _step(axis, _left(number) + ICON, UPPER + ICON / 2, step)
    _second_stage(axis, is_kept)
    _headline(axis, UPPER + ICON + 0.52, "Stage 1: an image becomes a few codes, and where they belong")
    return figure


def _left(station: int) -> float:
    return station * (ICON + GAP)


def _headline(axis: Axes, height: float, words: str) -> None:
    axis.text(0.0, height, words, fontsize=12, fontweight="bold", va="bottom")


def _toy_scores() -> NDArray[np.float64]:
    """Scores (SIDE, SIDE) that are high around a disc a little off the middle."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-(((rows - 2.2) ** 2 + (columns - 1.7) ** 2) / 3.2)) + 0.013 * (
        (3 * rows + 7 * columns) % 5
    )


def _toy_code(place: int) -> int:
    return (37 * place * place + 11) % 90 + 10


def _cells(
    axis: Axes, left: float, low: float, shades: NDArray[np.float64], is_kept: NDArray[np.bool_] | None = None
) -> None:
    """A grid of regions in cividis; those not in `is_kept` are pale and hatched."""
    size = ICON / SIDE
    for (row, column), shade in np.ndenumerate(shades):
        corner = (left + column * size, low + ICON - (row + 1) * size)
        if is_kept is None or is_kept[row, column]:
            look = {"facecolor": colormaps["cividis"](0.1 + 0.85 * float(shade)), "edgecolor": "white"}
        else:
            look = {"facecolor": PALE, "edgecolor": "0.7", "hatch": "////"}
        axis.add_patch(Rectangle(corner, size, size, linewidth=0.8, **look))


def _picture(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    axis.add_patch(Rectangle((left, low), ICON, ICON, facecolor="0.22", edgecolor=DARK))
    size = ICON / SIDE
    middle = (left + 2.2 * size, low + ICON - 2.7 * size)
    axis.add_patch(Circle(middle, 1.35 * size, facecolor="#E8B23A", edgecolor="none"))
    axis.add_patch(Circle(middle, 0.55 * size, facecolor="0.22", edgecolor="none"))


def _features(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    for shift in (0.16, 0.08):
        axis.add_patch(
            Rectangle((left + shift, low + shift), ICON, ICON, facecolor="0.75", edgecolor="white")
        )
    rows, columns = np.mgrid[:SIDE, :SIDE]
    _cells(axis, left, low, 0.55 * scores + 0.11 * ((2 * rows + 3 * columns) % 5))


def _scores(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    _cells(axis, left, low, scores)
    _in_cells(
        axis,
        left,
        low,
        scores,
        [f"{min(score, 0.9):.1f}"[1:] for score in scores.ravel()],
        np.ones_like(is_kept),
    )


def _kept(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    _cells(axis, left, low, scores, is_kept)


def _codes(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    _cells(axis, left, low, np.full_like(scores, 1.0), is_kept)
    numbers = [str(_toy_code(place)) for place in range(SIDE * SIDE)]
    _in_cells(axis, left, low, np.ones_like(scores), numbers, is_kept)


def _inferred(
    axis: Axes, left: float, low: float, scores: NDArray[np.float64], is_kept: NDArray[np.bool_]
) -> None:
    _features(axis, left, low, scores, is_kept)


def _in_cells(
    axis: Axes,
    left: float,
    low: float,
    shades: NDArray[np.float64],
    words: Sequence[str],
    is_kept: NDArray[np.bool_],
) -> None:
    size = ICON / SIDE
    for place, word in enumerate(words):
        row, column = divmod(place, SIDE)
        if is_kept[row, column]:
            middle = (left + (column + 0.5) * size, low + ICON - (row + 0.5) * size)
            ink = "white" if shades[row, column] < 0.5 else "black"
            axis.text(*middle, word, ha="center", va="center", fontsize=7.5, color=ink)


def _step(axis: Axes, x: float, y: float, step: Step) -> None:
    """An arrow over the gap that begins at `x`, its name above it and its notebooks' numbers below."""
    start = x + (0.2 if step.name in ("score", "decode") else 0.06)  # after a stack of maps, further right
    _arrow(axis, (start, y), (x + GAP - 0.06, y))
    axis.text((start + x + GAP) / 2, y + 0.12, step.name, ha="center", va="bottom", fontsize=9.5)
    for place, number in enumerate(step.notebooks):
        aside = 0.3 * (place - (len(step.notebooks) - 1) / 2)
        house(axis, x + GAP / 2 + aside, y - 0.3, number)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": DARK, "linewidth": 1.6})


def house(axis: Axes, x: float, y: float, number: int) -> None:
    """The number of a notebook, in a dark plate around (x, y)."""
    plate = {"boxstyle": "round,pad=0.25", "facecolor": DARK, "edgecolor": "none"}
    axis.text(x, y, str(number), color="white", fontsize=9.5, ha="center", va="center", bbox=plate)


def _second_stage(axis: Axes, is_kept: NDArray[np.bool_]) -> None:
    """The pairs below the codes, the transformer that reads them, and the way back up."""
    _headline(axis, LOWER + 0.62, "Stage 2: learn to write such pairs")
    pair, box_width, half = 1.0, 1.7, 0.27
    box_left = _left(5) + ICON / 2 - box_width / 2
    left = box_left - 0.5 - 5 * (pair + 0.08)
    places = np.flatnonzero(is_kept)[:4]
    words = [f"code {_toy_code(place)}\nplace {place}" for place in places]
    for number, text in enumerate([*words, "code ?\nplace ?"]):
        corner = (left + number * (pair + 0.08), LOWER - half)
        _box(axis, corner, pair, 2 * half, text, 9.5, linestyle="--" if "?" in text else "-")
    _box(axis, (box_left, LOWER - half), box_width, 2 * half, "Stackformer", 11)
    for number, notebook in enumerate((6, 7, 8)):
        house(axis, box_left + box_width + 0.3 + 0.34 * number, LOWER, notebook)
    _arrow(axis, (box_left - 0.5, LOWER), (box_left - 0.06, LOWER))
    top, turn, codes = LOWER + half + 0.05, 1.3, _left(4) + ICON / 2
    middle = left + 2.0 * (pair + 0.08) - 0.04
    axis.plot([codes, codes, middle], [UPPER - 0.32, turn, turn], color=DARK, linewidth=1.6)
    _arrow(axis, (middle, turn), (middle, top))
    axis.text((codes + middle) / 2, turn + 0.06, "kept regions in a row", ha="center", fontsize=9.5)
    inferred = _left(5) + ICON / 2
    _arrow(axis, (inferred, top), (inferred, UPPER - 0.32))
    axis.text(inferred + 0.1, (top + UPPER - 0.32) / 2, "new pairs:\na new image", va="center", fontsize=9.5)


def _box(
    axis: Axes,
    corner: tuple[float, float],
    width: float,
    height: float,
    words: str,
    size: float,
    linestyle: str = "-",
) -> None:
    look = {"facecolor": "white", "edgecolor": DARK, "linewidth": 1.3, "linestyle": linestyle}
    axis.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.08", **look))
    axis.text(corner[0] + width / 2, corner[1] + height / 2, words, ha="center", va="center", fontsize=size)
