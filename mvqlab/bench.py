"""Speed, as ratios measured in one run: each way of doing a thing beside the way it is compared with.

    mvqlab bench                    all suites
    mvqlab bench demask sampling    some of them

A suite is a list of `Case`s; its result is a table with the median of several repeats, their spread and
the ratio to the suite's slow reference. Results are written to `results/bench/<machine>.csv`.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.config import SamplingConfig, TransformerConfig
from mvqlab.files import whole_file
from mvqlab.models.demasking import DirectionConstrainedAttention
from mvqlab.models.stage2 import PairModel, build_stage2
from mvqlab.sampling import sample_pairs, sample_pairs_uncached


@dataclass(frozen=True)
class Case:
    """One way of doing a piece of work. `reference` is the name of the case it is compared with."""

    work: str
    way: str
    reference: str
    run: Callable[[], object]


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds_of(run: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """Wall-clock seconds of `repeats` calls of `run`, after one that warms up."""
    run()
    times = []
    for _ in range(repeats):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - began)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class NaiveDirectionConstrainedAttention(DirectionConstrainedAttention):
    """The equation as it stands: the L x L matrix in memory, its key columns scaled after the softmax."""

    def forward(self, x: Tensor, trust: Tensor | None = None) -> Tensor:
        query, key, value = self.project(x)
        attention = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        if trust is not None:
            attention = attention * trust[:, None, None, :]
        return self.add(x, attention @ value)


def demask_cases(device: torch.device) -> list[Case]:
    """Eight attention layers at width 256, forward and backward: fused against naive, 32 x 32 and 64 x 64."""
    cases = []
    for side in (32, 64):
        x = torch.randn(1, 256, side, side, device=device, requires_grad=True)
        trust = torch.rand(1, side * side, device=device).clamp_min(0.02)
        for way, kind in (
            ("naive", NaiveDirectionConstrainedAttention),
            ("fused", DirectionConstrainedAttention),
        ):
            layers = torch.nn.ModuleList(kind(256) for _ in range(8)).to(device)
            work = f"de-mask attention, {side * side} positions, 8 layers, forward + backward"
            cases.append(Case(work, way, "naive", _forward_backward(layers, x, trust)))
    return cases


def _forward_backward(layers: torch.nn.ModuleList, x: Tensor, trust: Tensor) -> Callable[[], None]:
    def run() -> None:
        y = x
        for layer in layers:
            y = layer(y, trust)
        F.mse_loss(y, torch.zeros_like(y)).backward()

    return run


def sampling_cases(device: torch.device, n_pairs: int = 256) -> list[Case]:
    """256 pairs, 4 + 4 layers, width 256, batch 4: with the key/value cache against the whole prefix anew."""
    config = TransformerConfig(code_layers=4, position_layers=4, width=256, heads=8, dropout=0.0)
    side = 32
    model = build_stage2(config, codebook_size=1024, side=side, n_pairs=n_pairs).to(device).eval()
    work = f"sampling 4 images of {n_pairs} pairs"
    return [
        Case(work, "uncached", "uncached", _sampler(sample_pairs_uncached, model, device)),
        Case(work, "cached", "uncached", _sampler(sample_pairs, model, device)),
    ]


def _sampler(sample: Callable, model: PairModel, device: torch.device) -> Callable[[], object]:
    def run() -> object:
        generator = torch.Generator(device).manual_seed(0)
        return sample(model, 4, SamplingConfig(), generator=generator)

    return run


SUITES: dict[str, Callable[[torch.device], list[Case]]] = {
    "demask": demask_cases,
    "sampling": sampling_cases,
}


def measure(cases: Sequence[Case], repeats: int, device: torch.device) -> pd.DataFrame:
    """One row a case: median and spread in seconds, and how many times faster than its reference."""
    rows = []
    for case in cases:
        print(f"  {case.work}: {case.way} ...", flush=True)
        times = seconds_of(case.run, repeats, device)
        rows.append(
            {
                "work": case.work,
                "way": case.way,
                "seconds": statistics.median(times),
                "fastest": min(times),
                "slowest": max(times),
                "repeats": repeats,
                "reference": case.reference,
            }
        )
    table = pd.DataFrame(rows)
    references = table[table["way"] == table["reference"]].set_index("work")["seconds"]
    table["times_faster"] = table["work"].map(references) / table["seconds"]
    return table


def main(suites: Sequence[str] = (), folder: Path = Path("results/bench"), repeats: int = 3) -> pd.DataFrame:
    """Run `suites` (all if none is named), print the table and write it under `folder`.

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
    table = pd.concat(tables, ignore_index=True).assign(**_machine(device))
    path = Path(folder) / f"{platform.node() or 'machine'}.csv"
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
    print(table[["work", "way", "seconds", "times_faster"]].to_string(index=False, float_format="%.3g"))
    print(f"written to {path}")
    return table


def _machine(device: torch.device) -> dict[str, object]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }
