"""What was measured with this lab: the tables in `results/reference/` of the repository."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "results" / "reference"


def reference_table(name: str, folder: Path = FOLDER) -> pd.DataFrame | None:
    """The reference table `name`, such as ``"demask_summary"``; None where it is not there.

    The tables lie in the repository and not in the installed package: whoever shows them has to say where
    they are if they are missing. What each holds, and how it was made, is written in `results/README.md`.
    """
    path = folder / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else None
