"""What is wrong with the `plot` of a grid file, before the grid runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mvqlab.grid.spec import GridFile, Plot, did_you_mean
from mvqlab.results.summary import SummaryError, key_of, published

if TYPE_CHECKING:
    from mvqlab.grid.points import Point


def faults_of_plot(content: GridFile, points: Sequence[Point]) -> list[str]:
    """What forbids summarising and drawing `points` as the file asks for, a line each."""
    if content.plot is None:
        return []
    names = [*content.plot.by, *([content.plot.compare.name] if content.plot.compare else [])]
    known = {name for point in points for name in point.settings} | {"variant"}
    absent = [name for name in names if name not in known]
    if absent:
        return [f"plot: the points have no parameter '{name}'{did_you_mean(name, known)}" for name in absent]
    groups: dict[str, set[str]] = defaultdict(set)
    for point in points:
        values = {**point.settings, "variant": point.variant}
        groups[str([values[name] for name in content.plot.by])].add(point.variant)
    faults = _faults_of_comparison(content.plot, points)
    if content.plot.published is not None:
        try:
            published(content.plot.published)
        except SummaryError as error:
            faults.append(f"plot: published: {error}")
    return faults + [
        f"plot: {' and '.join(sorted(group))} would be taken for one; name what tells them apart in x or hue"
        for group in groups.values()
        if len(group) > 1
    ]


def _faults_of_comparison(plot: Plot, points: Sequence[Point]) -> list[str]:
    """Sides of the comparison that no point has."""
    if plot.compare is None or not points:
        return []
    name = plot.compare.name
    there = {key_of({**point.settings, "variant": point.variant}[name]) for point in points}
    sides = {"first": plot.compare.first, "second": plot.compare.second}
    return [
        f"plot: compare: no point has {name} {value!r}, which is to be the {side}"
        for side, value in sides.items()
        if key_of(value) not in there
    ]
