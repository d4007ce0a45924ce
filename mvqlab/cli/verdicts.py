"""The command ``mvqlab verdicts``: what the runs say of each hypothesis of a protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mvqlab.cli.arguments import UsageError
from mvqlab.support.lab import here_or_in_lab

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL = Path("ablations/protocol/hypotheses.yaml")  # here, or in what is installed, as the tables
SHOWN = (
    *("part_of", "data", "says", "metric", "n", "effect", "mean", "low", "high"),
    *("p_holm", "p_effect_holm", "verdict"),
)


def add_verdicts(parser: argparse.ArgumentParser) -> None:
    """Add the command to `parser`; it stores the function that runs it as `command`."""
    parser.add_argument("protocol", type=Path, nargs="?", default=PROTOCOL, help=f"default: {PROTOCOL}")
    parser.add_argument(
        "--tables",
        type=Path,
        default=Path("results/reference"),
        help="where the tables lie, as NAME.csv, or the folders of grids, NAME/; default: results/reference",
    )
    parser.add_argument("--out", type=Path, help="write all columns to this CSV file, too")
    parser.set_defaults(command=_verdicts)


def _verdicts(options: argparse.Namespace) -> int:
    from mvqlab.results.protocol import read_protocol, verdicts, write_verdicts
    from mvqlab.results.table_files import as_markdown

    protocol = read_protocol(here_or_in_lab(options.protocol))
    names = dict.fromkeys(name for hypothesis in protocol for name in hypothesis.tables)
    there = [name for name in names if _path_of(options.tables, name).exists()]
    if names and not there:
        raise UsageError(
            f"{options.tables} holds none of the {len(names)} tables that {options.protocol} names (such as "
            f"{next(iter(names))}.csv): name the folder in which they lie with --tables"
        )
    found = verdicts(protocol, lambda name: _table(_path_of(options.tables, name)))
    print(as_markdown(found[list(SHOWN)]))
    print(f"tables that were read: {len(there)} of {len(names)}, from {options.tables}")
    print(
        "mean: first arm minus second, over n seeds, with its 95 % interval. p_holm: that there is no "
        "difference; p_effect_holm: that it is as large as the effect that matters, or larger. Both are "
        "corrected for all of the claim on that data."
    )
    if options.out:
        write_verdicts(found, options.out)
    return 0


def _path_of(folder: Path, name: str) -> Path:
    """Where the table `name` lies or would: the folder of a grid, or a CSV file."""
    return folder / name if (folder / name).is_dir() else here_or_in_lab(folder / f"{name}.csv")


def _table(path: Path) -> pd.DataFrame:
    """Raises FileNotFoundError where it is not there, which means that it has not been run."""
    from mvqlab import results
    from mvqlab.results.table_files import read_csv

    return results.load(path) if path.is_dir() else read_csv(path)
