"""The verdicts on the claims: what the kept tables of the protocol's grids say of each hypothesis."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.plots import save_figure
from mvqlab.plots.verdicts import verdict_chart
from mvqlab.results.protocol import read_claims, read_protocol, verdicts
from mvqlab.results.reference import FOLDER as KEPT
from mvqlab.results.table_files import write_csv
from mvqlab.support.lab import LAB

PROTOCOL = LAB / "ablations" / "protocol" / "hypotheses.yaml"


def make_verdicts(asked: Asked) -> list[Path]:
    """Write verdicts.csv, a row a hypothesis, and verdicts.png. Raises KeptError where none has been run."""
    found = verdicts(read_protocol(PROTOCOL), lambda name: pd.read_csv(KEPT / f"{name}.csv"))
    if not found["n"].any():
        raise KeptError(f"{KEPT} has no table of a grid of the protocol yet")
    figure = verdict_chart(found, read_claims(PROTOCOL), "What the runs say of the paper's claims")
    tables = found["tables"].map(" ".join)
    return [
        write_csv(found.assign(tables=tables).round(DIGITS), asked.folder / "verdicts.csv"),
        save_figure(figure, asked.folder / "verdicts.png"),
    ]
