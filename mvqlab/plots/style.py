"""One style for all figures: colours, marks, sizes of words, labels, and how a panel is finished.

No meaning hangs on colour alone: what has a colour has a marker, a dash or a hatch, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mvqlab.results.columns import printable
from mvqlab.support.files import whole_file

PALETTE_NAME = "colorblind"  # seaborn's
PALETTE = sns.color_palette(PALETTE_NAME)
MARKERS = "os^DvP"
LINES = ("-", "--", "-.", ":")
MAP_COLOURS = "cividis"  # of numbers over the grid of regions, or over codes
DROPPED = (118, 128, 142)  # slate of a dropped region: no ground and no drawing is filled with it
HIGH = 30  # letters that a panel is high
TITLE, PANEL, SMALL = 10, 9, 8  # points: of a figure's title, of a panel's, of what explains
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": SMALL}


def arm_colour(number: int) -> tuple[float, float, float]:
    """The colour of the arm of that number, from 0; the eleventh has that of the first."""
    return PALETTE[number % len(PALETTE)]


def arm_marker(number: int) -> str:
    """The marker of the arm of that number."""
    return MARKERS[number % len(MARKERS)]


def arm_line(number: int) -> str:
    """The line of the arm of that number."""
    return LINES[number % len(LINES)]


def reach(rows: pd.DataFrame, middle: str = "mean", low: str = "low", high: str = "high") -> np.ndarray:
    """How far (2, n) intervals go down and up from their `middle`; 0 where there is none."""
    ends = np.stack([rows[middle] - rows[low], rows[high] - rows[middle]]).astype(float)
    return np.nan_to_num(ends, nan=0.0).clip(min=0.0)


def of_regions(height: int, width: int) -> dict[str, tuple[float, float, float, float]]:
    """For `imshow`: the coordinates of a grid of regions, of which the upper left one lies at (0, 0)."""
    return {"extent": (-0.5, width - 0.5, height - 0.5, -0.5)}


def upright(words: str) -> str:
    """A label that is written upwards, on two lines where it is longer than its panel is high."""
    return words.replace(", ", ",\n") if len(words) > HIGH else words


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def panels_of(n: int, n_columns: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `size` inches with `n` panels, row by row; places without one stay empty."""
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(-(-n // n_columns), n_columns, squeeze=False, **shared).flat)
    for axis in panels[n:]:
        axis.set_visible(False)
    return figure, panels[:n]


def headline(figure: Figure, words: str) -> None:
    """The title of a whole figure."""
    figure.suptitle(words, fontsize=TITLE)


def finish(axis: Axes, title: str = "", along: Literal["both", "x", "y"] = "both", size: int = TITLE) -> None:
    """The grid of a panel, and its `title` if it has one."""
    if title:
        axis.set_title(title, fontsize=size)
    axis.grid(axis=along, alpha=0.3)


def legend_beside(axis: Axes, title: str | None = None) -> None:
    """The legend to the right of a panel, so that it hides nothing; seaborn's own is moved there."""
    place: dict[str, Any] = {"bbox_to_anchor": (1.01, 1.0), **LEGEND}
    if axis.get_legend() is None:
        axis.legend(loc="upper left", title=title, title_fontsize=SMALL, **place)
    else:
        sns.move_legend(axis, "upper left", title=title, title_fontsize=SMALL, **place)


def shared_legend(figure: Figure, axis: Axes, where: str, **more: Any) -> None:
    """The legend of one panel for the whole figure, outside all panels: "right center", "lower center"."""
    handles, labels = axis.get_legend_handles_labels()
    settings: dict[str, Any] = {"loc": f"outside {where}", **LEGEND, **more}
    figure.legend(handles, labels, **settings)


def drop_repeated_names(figure: Figure) -> None:
    """Take away names of points that lie on the same name beside another point: once is enough."""
    figure.draw_without_rendering()  # says where words lie
    for axis in figure.axes:
        shown: list[tuple[str, Bbox]] = []
        for name in axis.texts:
            words, place = name.get_text(), name.get_window_extent()
            is_repeated = any(words == other and place.overlaps(there) for other, there in shown)
            name.set_visible(not is_repeated)
            if not is_repeated:
                shown.append((words, place))


def as_written(words: object) -> str:
    r"""`words` as matplotlib shows them letter by letter: labels stay what they are, whatever they hold.

    Between two ``$`` it would read a formula, and fail where there is none; a label that begins with ``_`` it
    leaves out of legends.
    """
    text = printable(str(words)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path: Path) -> Path:
    """Write `figure` as a PNG, whole, and return its path."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", bbox_inches="tight")
    return path
