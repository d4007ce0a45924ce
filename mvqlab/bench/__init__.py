"""Speed, as ratios measured in one run: each way of doing a thing beside the way it is compared with.

    mvqlab bench                    all suites
    mvqlab bench demask sampling    some of them

    demask      the de-mask module: fused against naive, batched against looped, memory over positions
    sampling    cached against uncached, against the memory's bandwidth, against transformers' generate
    train_step  MQ-VAE against the plain VQ model, module by module; stage 2 over mask ratios
    published   one step of each stage at the published size, its seconds and its memory
    explore     the mask explorer: from a slider's new value to new pictures
    grid        what a point of a grid costs beside its notebook's own work

`mvqlab bench quality` is another matter, and takes an hour: seconds of training until pictures are good, see
`bench.quality`. Results go to `results/bench/<machine>.csv`, with a figure beside it, after each suite;
rows of suites that are not run stay.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd
import torch

from mvqlab.bench.timing import Case, machine, measure
from mvqlab.plots import ratio_bars, save_figure
from mvqlab.results.table_files import beside_others, check_has_columns, write_csv

__all__ = ["SUITES", "Case", "main", "measure"]


def _suite(name: str) -> Callable[[torch.device], list[Case]]:
    """The cases of a suite; its module is imported with them, as widgets and notebooks are not everywhere."""
    return lambda device: getattr(import_module(f"mvqlab.bench.{name}"), f"{name}_cases")(device)


SUITES: dict[str, Callable[[torch.device], list[Case]]] = {
    name: _suite(name) for name in ("demask", "sampling", "train_step", "published", "explore", "grid")
}


class SuiteError(ValueError):
    """There is no suite of that name. The message says which there are."""


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(suites: Sequence[str] = (), folder: Path = Path("results/bench"), repeats: int = 3) -> pd.DataFrame:
    """Run `suites` (all if none is named), print their table and write it and its figure under `folder`.

    Both are written after each suite; rows of suites that were measured there before, and are not now, stay.
    Raises SuiteError for a suite that does not exist, TableError where an earlier table cannot be read.
    """
    unknown = sorted(set(suites) - set(SUITES))
    if unknown:
        there = ", ".join(SUITES)
        raise SuiteError(f"no suite '{', '.join(unknown)}'; there are {there}, and quality by itself")
    device = best_device()
    path = Path(folder) / f"{platform.node() or 'machine'}.csv"
    check_has_columns(path, ["suite"])  # now, not after minutes
    tables: list[pd.DataFrame] = []
    for name in suites or SUITES:
        print(f"suite {name} on {device}, {torch.get_num_threads()} threads", flush=True)
        found = measure(SUITES[name](device), repeats, device).assign(suite=name, **machine(device))
        tables.append(found)
        figure = _write(beside_others(found, path, ["suite"]), path)
    table = pd.concat(tables, ignore_index=True)
    shown = table[["work", "way", "seconds", "times_faster", "memory_mib"]]
    print(shown.to_string(index=False, float_format="%.3g", na_rep=""))
    print(f"written to {path} and {figure}")
    return table


def _write(table: pd.DataFrame, path: Path) -> Path:
    """Write `table` to `path`, and its figure beside it, whose path is returned."""
    write_csv(table, path)
    title = "; ".join(f"{device}, {threads} threads" for device, threads in _machines(table))
    return save_figure(ratio_bars(table, title), path.with_suffix(".png"))


def _machines(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Devices, without their names, and threads that rows of `table` were measured with."""
    devices = table["device"].str.partition(" (")[0]
    return list(dict.fromkeys(zip(devices, table["threads"].astype(int), strict=True)))
