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
`bench.quality`. Results go to `results/bench/<machine>.csv`, with a figure beside it.
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
from mvqlab.results.table_files import write_csv

__all__ = ["SUITES", "Case", "main", "measure"]


def _suite(name: str) -> Callable[[torch.device], list[Case]]:
    """The cases of a suite; its module is imported with them, as widgets and notebooks are not everywhere."""
    return lambda device: getattr(import_module(f"mvqlab.bench.{name}"), f"{name}_cases")(device)


SUITES: dict[str, Callable[[torch.device], list[Case]]] = {
    name: _suite(name) for name in ("demask", "sampling", "train_step", "published", "explore", "grid")
}


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(suites: Sequence[str] = (), folder: Path = Path("results/bench"), repeats: int = 3) -> pd.DataFrame:
    """Run `suites` (all if none is named), print the table and write it and its figure under `folder`.

    Raises ValueError for a suite that does not exist.
    """
    unknown = set(suites) - set(SUITES)
    if unknown:
        raise ValueError(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    device = best_device()
    tables = []
    for name in suites or SUITES:
        print(f"suite {name} on {device}, {torch.get_num_threads()} threads", flush=True)
        tables.append(measure(SUITES[name](device), repeats, device).assign(suite=name))
    table = pd.concat(tables, ignore_index=True).assign(**machine(device))
    path = Path(folder) / f"{platform.node() or 'machine'}.csv"
    write_csv(table, path)
    shown = table[["work", "way", "seconds", "times_faster", "memory_mib"]]
    print(shown.to_string(index=False, float_format="%.3g", na_rep=""))
    figure = save_figure(
        ratio_bars(table, f"{device.type}, {torch.get_num_threads()} threads"), path.with_suffix(".png")
    )
    print(f"written to {path} and {figure}")
    return table
