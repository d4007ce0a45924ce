"""What a grid file asks for: axes, points and seeds, multiplied out, and what is excluded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mvqlab.grid.notebook import Notebook, read_notebook
from mvqlab.grid.spec import Grid, GridFile, Parameters, report_faults

LABEL = "label"
MOST_POINTS = 20_000  # of a grid


class Wanted(NamedTuple):
    label: str
    variant: str
    settings: Parameters


class Layout(NamedTuple):
    """A grid expanded, before any of its points is checked."""

    notebook: Notebook
    everything: list[Wanted]  # what is excluded, too
    wanted: list[Wanted]
    changed: list[str]  # the settings that some point changes, shown for every point


def lay_out(grid: Grid) -> Layout:
    """Expand `grid`. Raises GridError for faults that forbid it, and for more points than a grid may have."""
    notebook = read_notebook(grid.notebook)
    report_faults(grid.path, _faults_of_layout(grid.content))
    everything = list(_expand(grid.content))
    wanted = [one for one in everything if not _is_excluded(one.settings, grid.content)]
    changed = list(dict.fromkeys(name for one in wanted for name in one.settings if "." in name))
    return Layout(notebook, everything, wanted, changed)


def _faults_of_layout(content: GridFile) -> list[str]:
    """Faults that forbid expanding: axes that do not fit together, names given in two places."""
    faults = []
    for axis, values in content.axes.items():
        names = _names(axis)
        if not values:
            faults.append(f"axes: '{axis}' has no values")
        for value in values if len(names) > 1 else []:
            if not isinstance(value, list) or len(value) != len(names):
                faults.append(f"axes: '{axis}' needs lists of {len(names)} values, not {value!r}")
    varied = [name for axis in content.axes for name in _names(axis)] + ["seed"] * bool(content.seeds)
    listed = {name for point in content.points for name in point}
    for name in sorted({name for name in varied if varied.count(name) > 1 or name in listed}):
        faults.append(f"'{name}' is given in two of axes, points and seeds")
    if not (varied or content.points):
        faults.append("there are no points: give axes, points or seeds")
    n_points = (
        math.prod(map(len, content.axes.values())) * len(content.points or [{}]) * len(content.seeds or [0])
    )
    if n_points > MOST_POINTS:  # multiplied, not counted: a slip of the pen makes millions
        what = (
            "axes, points and seeds make"
            if not content.exclude
            else "before exclude, axes, points and seeds make"
        )
        faults.append(
            f"{what} {n_points:,} points; a grid has at most {MOST_POINTS:,}: make several grids of it"
        )
    return faults


def _expand(content: GridFile) -> Iterator[Wanted]:
    """The settings of each point, with its label; points outermost, seeds innermost."""
    axes = [[_settings(axis, value) for value in values] for axis, values in content.axes.items()]
    axes.append([{"seed": seed} for seed in content.seeds] or [{}])
    for point in content.points or [{}]:
        own = {name: value for name, value in point.items() if name != LABEL}
        for combination in itertools.product(*axes):
            varied = {name: value for part in combination for name, value in part.items()}
            named = [str(point[LABEL])] if LABEL in point else _in_words(own)
            words = named + _in_words({name: value for name, value in varied.items() if name != "seed"})
            label = ", ".join(named + _in_words(varied)) or "base"
            yield Wanted(label, ", ".join(words) or "base", {**content.base, **own, **varied})


def _in_words(settings: Parameters) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]


def _names(axis: str) -> list[str]:
    return [name.strip() for name in axis.split(",")]


def _settings(axis: str, value: Any) -> Parameters:
    names = _names(axis)
    return dict(zip(names, value, strict=True)) if len(names) > 1 else {names[0]: value}


def _is_excluded(settings: Parameters, content: GridFile) -> bool:
    return any(_matches(settings, entry) for entry in content.exclude)


def _matches(settings: Parameters, entry: Parameters) -> bool:
    return all(name in settings and settings[name] == value for name, value in entry.items())


def faults_of_exclude(content: GridFile, everything: Sequence[Wanted]) -> list[str]:
    return [
        f"exclude: no point matches {entry!r}"
        for entry in content.exclude
        if not any(_matches(one.settings, entry) for one in everything)
    ]
