"""The curves of a run: rows in memory, one CSV that pandas reads, and loggers for those who want them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mvqlab.support.files import whole_file

if TYPE_CHECKING:
    from lightning_fabric.loggers import Logger


class DamagedCurvesWarning(UserWarning):
    """The curves of a run that goes on cannot be read."""


class Curves:
    """Losses over steps: one row a logged step and split, one column a value.

    The file `curves.csv` holds `step`, `split` ("train" or "validation"), `seconds` of training so far
    and whatever was logged. It is written whole, so a reader never meets half a row.
    """

    def __init__(self, folder: Path, up_to_step: int = 0, loggers: Sequence[Logger] = ()) -> None:
        self.path = folder / "curves.csv"
        self.rows: list[dict[str, Any]] = []
        if up_to_step and self.path.exists():
            self.rows = _rows(self.path, up_to_step)
        self.loggers = loggers

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last row."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def add(self, step: int, split: str, seconds: float, **values: float) -> None:
        """Log `values` after `step` steps."""
        self.rows.append({"step": step, "split": split, "seconds": round(seconds, 3), **values})
        for logger in self.loggers:
            logger.log_metrics({f"{split}/{name}": value for name, value in values.items()}, step)

    def table(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.DataFrame(self.rows)

    def save(self) -> None:
        """Write the CSV, whole."""
        with whole_file(self.path) as path:
            self.table().to_csv(path, index=False)
        for logger in self.loggers:
            logger.save()


def read_curves(path: Path) -> pd.DataFrame:
    """The curves in the file at `path`; rows that were cut short are left out, with a DamagedCurvesWarning.

    No rows where there are none to be read.
    """
    try:
        table = pd.read_csv(path)
        whole = table[table["split"].isin(["train", "validation"])]
        whole = whole[pd.to_numeric(whole["step"], errors="coerce").notna()]
        whole = whole.astype({"step": int, "seconds": float})
    except (ValueError, KeyError, TypeError) as error:  # pandas' and the decoder's own are ValueErrors
        warnings.warn(f"{path} cannot be read ({error})", DamagedCurvesWarning, stacklevel=2)
        return pd.DataFrame({"step": [], "split": [], "seconds": []})
    if len(whole) < len(table):
        lost = len(table) - len(whole)
        warnings.warn(f"{path}: {lost} rows are cut short and left out", DamagedCurvesWarning, stacklevel=2)
    return whole


def _rows(path: Path, up_to_step: int) -> list[dict[str, Any]]:
    earlier = read_curves(path)
    return earlier[earlier["step"] <= up_to_step].to_dict("records")
