"""What was measured with this lab: the tables in `results/reference/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mvqlab.support.lab import LAB

FOLDER = LAB / "results" / "reference"


def reference_table(name: str, folder: Path = FOLDER) -> pd.DataFrame | None:
    """The reference table `name`, such as ``"order_summary"``; None where it is not there.

    The tables lie in the repository, and in what is installed from a wheel. What each holds, and how it was
    made, is written in the pages of `results/`, by `results/README.md`.
    """
    path = folder / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else None
