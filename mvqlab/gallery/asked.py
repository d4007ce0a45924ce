"""What `mvqlab results make` is asked for, and how a table that has rows of several models is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mvqlab.results.table_files import write_csv

ALL = "all shipped ones that it fits"
DIGITS = 5


class KeptError(ValueError):
    """What was asked for cannot be made. The message says why, and what can."""


class Asked(NamedTuple):
    """Where to make something, and of which model: a shipped one's name, or folders of runs.

    n_images: fewer images than what is kept was measured on, for a quick look; None for as many.
    """

    folder: Path
    model: str
    stage1: str | None = None  # of a transformer in a run's folder: the folder of its stage 1
    n_images: int | None = None

    def at_most(self, n: int) -> int:
        """`n` images, or as few as were asked for."""
        return n if self.n_images is None else min(n, self.n_images)


def measured_by_model(
    asked: Asked,
    name: str,
    models: Sequence[str],
    measure: Callable[[str], pd.DataFrame],
    order: Sequence[str],
) -> tuple[Path, pd.DataFrame]:
    """The table `name`.csv, written: what `measure` says of each of `models`, in the `order` of columns.

    It is written after each model, so that what is done is kept; until a model is measured, its rows stay as
    they are in the table. So do all rows of others where one model is asked for by name.
    """
    path = asked.folder / f"{name}.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame({"model": []})
    for model in models if asked.model == ALL else [asked.model]:
        rows = measure(model).assign(model=Path(model).name)
        others = table[table["model"] != Path(model).name]
        table = pd.concat([others, rows], ignore_index=True).sort_values(list(order), kind="stable")
        write_csv(table.round(DIGITS), path)
    if asked.model == ALL:
        table = table[table["model"].isin([Path(model).name for model in models])]
        write_csv(table.round(DIGITS), path)
    return path, table
