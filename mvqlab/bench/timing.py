"""Cases and how they are timed: medians of repeats, the device waited for."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from mvqlab.evaluation.speed import timings


@dataclass(frozen=True)
class Case:
    """One way of doing a piece of work. `reference` is the way it is compared with.

    run: does the work; what takes minutes may be run just `once`, without warming up. seconds: given
    rather than measured, for a bound that no run can beat. memory: bytes that it holds for the backward
    pass.
    """

    work: str
    way: str
    reference: str
    run: Callable[[], object] = lambda: None
    once: bool = False
    seconds: float | None = None
    memory: Callable[[], int] | None = None


def measure(cases: Sequence[Case], repeats: int, device: torch.device) -> pd.DataFrame:
    """One row a case: median and spread in seconds, how many times faster than its reference, memory."""
    rows = []
    for case in cases:
        print(f"  {case.work}: {case.way} ...", flush=True)
        if case.seconds is not None:
            times = [case.seconds]
        else:
            n = 1 if case.once else repeats
            times = timings(case.run, device=device, repeats=n, warmup=0 if case.once else 1)
        rows.append(
            {
                "work": case.work,
                "way": case.way,
                "seconds": statistics.median(times),
                "fastest": min(times),
                "slowest": max(times),
                "repeats": 0 if case.seconds is not None else len(times),
                "memory_mib": case.memory() / 2**20 if case.memory else float("nan"),
                "reference": case.reference,
            }
        )
    table = pd.DataFrame(rows)
    references = table[table["way"] == table["reference"]].set_index("work")["seconds"]
    table["times_faster"] = table["work"].map(references) / table["seconds"]
    return table


def bytes_for_backward(forward: Callable[[], object]) -> int:
    """Bytes of distinct storage that autograd keeps of one call of `forward`."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result
    return sum(kept.values())


def read_bandwidth(device: torch.device, n_bytes: int = 2**28, repeats: int = 7) -> float:
    """Bytes a second at which `device` reads weights from memory: a matrix of `n_bytes` times a vector."""
    side = int((n_bytes / 4) ** 0.5)
    matrix, vector = torch.randn(side, side, device=device), torch.randn(side, device=device)
    times = timings(lambda: matrix @ vector, device=device, repeats=repeats)
    return matrix.nbytes / statistics.median(times)


def product_rate(device: torch.device, side: int = 1024, repeats: int = 7) -> float:
    """Floating-point operations a second of `device` in products of two matrices of `side` x `side`."""
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    times = timings(lambda: a @ b, device=device, repeats=repeats)
    return 2 * side**3 / statistics.median(times)


def machine(device: torch.device) -> dict[str, object]:
    """What a timing depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }
