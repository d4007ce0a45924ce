"""Points that another machine has run: their rows stand in a table of its own, and they do not run here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mvqlab.grid.points import Point
from mvqlab.grid.spec import GridError
from mvqlab.support.faults import explained


def not_done_in(tables: Iterable[Path], points: Sequence[Point], say: Callable[[str], object]) -> list[Point]:
    """Those of `points` that are done in none of `tables`, which `mvqlab grid table` or `results make` wrote.

    A point is known by its identity: a row of other settings, or of another version, is no row of it. `say`
    is told how many each table has. Raises GridError for a file that cannot be read, or is no such table.
    """
    left = list(points)
    for path in tables:
        done = done_in(path)
        found = [point for point in left if point.id in done]
        left = [point for point in left if point.id not in done]
        say(f"{len(found)} of these points are done in {path}")
    return left


def done_in(path: Path) -> set[str]:
    """The identities of the points that are done in the table at `path`. Raises GridError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"point", "status"} <= set(rows.fieldnames or ()):
                raise GridError(
                    f"{path} is no table of a grid's points: it has no columns 'point' and 'status'. "
                    "Give a table.csv that `mvqlab grid table` wrote"
                )
            return {row["point"] for row in rows if row["status"] == "done"}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GridError(f"{path} cannot be read: {explained(error) or error}") from None
