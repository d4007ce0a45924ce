"""The points of a grid: expanded, checked one and all before the first starts, each with an identity."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvqlab import __version__
from mvqlab.grid.expansion import Layout, Wanted, faults_of_exclude, lay_out
from mvqlab.grid.notebook import OVERRIDES
from mvqlab.grid.plot_faults import faults_of_plot
from mvqlab.grid.point_settings import Checked, check_settings
from mvqlab.grid.shared import hash_of_settings, slug
from mvqlab.grid.spec import ChangedGridError, Grid, GridError, Parameters, report_faults


@dataclass(frozen=True)
class Point:
    """One run of the notebook.

    parameters: what the notebook is given, `output` apart. settings: the same for people, with the
    notebook's defaults filled in, and each setting that the grid changes under its dotted name.
    variant: the label without the seed, which points that differ in nothing else have in common.
    id: hash of all that decides the outcome; its folder is found by it. stage1: names the training of stage 1
    that it shares with all points that need the same; empty where its notebook shares none.
    """

    index: int
    label: str
    variant: str
    parameters: Parameters
    settings: Parameters
    id: str
    config: Parameters = field(default_factory=dict, repr=False)  # nested; empty where a notebook takes none
    stage1: str = ""

    def folder(self, results: Path) -> Path:
        """The point's folder under `results`: the one it already has, whatever its label was then."""
        return folders_of([self], results)[0]


def folders_of(points: Sequence[Point], results: Path) -> list[Path]:
    """The folder of each of `points` under `results`, which is listed once, however many they are."""
    names = sorted(os.listdir(results), reverse=True) if results.is_dir() else []
    existing = {name.rpartition("-")[2]: name for name in names}  # the first by name, where there are two
    return [results / existing.get(point.id, f"{slug(point.label)}-{point.id}") for point in points]


def build_points(grid: Grid) -> list[Point]:
    """All points of `grid`. Raises GridError with every fault of every point."""
    layout = lay_out(grid)
    faults: dict[str, list[int]] = defaultdict(list)
    points = []
    for index, one in enumerate(layout.wanted):
        checked = check_settings(one.settings, layout.notebook)
        for fault in checked.faults:
            faults[fault].append(index)
        points.append(_point(index, one, checked, layout))
    listed = [f"{fault} ({_place(indices, len(points))})" for fault, indices in faults.items()]
    between = [] if listed else _faults_between(points)
    of_all = faults_of_plot(grid.content, points) + faults_of_exclude(grid.content, layout.everything)
    report_faults(grid.path, of_all + listed + between)
    report_faults(grid.path, [] if points else ["exclude: leaves no point"])
    return points


def build_point(grid: Grid, index: int, expected_id: str = "") -> Point:
    """The point at `index`, as `build_points` has it; the others are counted, not checked.

    With an `expected_id` it is the point of that identity, wherever it stands by now: a grid file that is
    edited while its grid runs changes what an index stands for. Raises GridError for an index that there is
    not and for a fault of this point, ChangedGridError where no point has that identity any more.
    """
    layout = lay_out(grid)
    if not expected_id:
        _require_indices([index], len(layout.wanted))
        return _point_at(index, grid, layout)
    order = sorted(range(len(layout.wanted)), key=lambda place: place != index)  # mostly it has not moved
    for place in order:
        with suppress(GridError):
            point = _point_at(place, grid, layout)
            if point.id == expected_id:
                return point
    raise ChangedGridError(
        f"point {index} is not what it was when the grid started: its grid file, notebook, preset or mvqlab "
        "itself has changed since. Start the grid again"
    )


def _point_at(index: int, grid: Grid, layout: Layout) -> Point:
    one = layout.wanted[index]
    checked = check_settings(one.settings, layout.notebook)
    report_faults(grid.path, [f"{fault} (point {index})" for fault in checked.faults])
    return _point(index, one, checked, layout)


def choose(points: Sequence[Point], only: Sequence[int]) -> list[Point]:
    """The points whose index is in `only`, or all. Raises GridError for an index that there is not."""
    _require_indices(only, len(points))
    chosen = set(only) or range(len(points))
    return [point for point in points if point.index in chosen]


def _require_indices(indices: Sequence[int], n_points: int) -> None:
    absent = ", ".join(str(index) for index in sorted(set(indices)) if not 0 <= index < n_points)
    if absent:
        raise GridError(f"there is no point {absent}: indices go from 0 to {n_points - 1}")


def _point(index: int, one: Wanted, checked: Checked, layout: Layout) -> Point:
    shown = {name: value for name, value in checked.complete.items() if name != OVERRIDES}
    shown |= {name: _look_up(checked.plain, name) for name in layout.changed}
    identity = [checked.complete, checked.config, layout.notebook.source_hash, __version__, *checked.arms]
    return Point(
        index,
        one.label,
        one.variant,
        checked.given,
        shown,
        hash_of_settings(identity),
        checked.config,
        checked.stage1,
    )


def _look_up(config: Parameters, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _place(indices: Sequence[int], n_points: int) -> str:
    if len(indices) == n_points:
        return "every point"
    return f"point{'s' * (len(indices) > 1)} {', '.join(map(str, indices))}"


def _faults_between(points: Sequence[Point]) -> list[str]:
    """Points that are the same, or cannot be told apart in a table."""
    faults = []
    by_id: dict[str, Point] = {}
    by_label: dict[str, Point] = {}
    for point in points:
        same, namesake = by_id.setdefault(point.id, point), by_label.setdefault(point.label, point)
        if same is not point:
            faults.append(f"points {same.index} and {point.index} are the same")
        elif namesake is not point:
            faults.append(f"points {namesake.index} and {point.index} are both labelled '{point.label}'")
    return faults
