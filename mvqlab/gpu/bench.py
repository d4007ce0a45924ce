"""How quick is the card? Sampling beside its bandwidth and `generate`, steps beside the plain way."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from mvqlab.bench.timing import read_bandwidth
from mvqlab.gpu import sampling_speed, step_speed
from mvqlab.gpu.parts import Report, TimedPart, device_for, run_parts

BANDWIDTH_BYTES = 2**32  # of the matrix that is read: much more than a card's cache holds
# The goals come first; what may be cut is last. Seconds that each part may take.
BUDGETS = {
    "bandwidth": 15,
    "sampling, fp32, batch 1": 60,
    "stage-1 step, bf16": 30,
    "choosing": 15,
    "sampling, bf16, batch 1": 30,
    "stage-1 modules": 15,
    "stage-2 step, bf16": 20,
    "generate": 25,
    "sampling, fp32, batch 64": 30,
    "stage-1 step, fp32": 20,
    "sampling, bf16, batch 256": 30,
    "likeliest pairs": 15,
    "stage-2 step, fp32": 20,
    "generate, static": 40,
    "stage-1 step, compiled": 90,
}


def bench(folder: Path, device: str | None = None, seconds: float = 170.0, toy: bool = False) -> int:
    """Measure on `device` within `seconds`; returns 1 if a part failed, else 0. Raises NoGpuError."""
    on = device_for(device)
    report = Report(folder, "bench", on)

    @lru_cache
    def bandwidth() -> float:
        return read_bandwidth(on, 2**22 if toy else BANDWIDTH_BYTES)

    def tell_bandwidth(report: Report) -> None:
        report.add(
            "read bandwidth", value=1e-9 * bandwidth(), unit="GB/s", note="a matrix times a vector, fp32"
        )

    sizes = sampling_speed.Sizes.toy() if toy else sampling_speed.Sizes()
    runs = {
        "bandwidth": tell_bandwidth,
        **sampling_speed.parts_of(sizes, on, bandwidth),
        **step_speed.parts_of(on, toy),
    }
    torch.set_float32_matmul_precision("highest")  # as torch has it: TF32 in convolutions, not in products
    run_parts(report, [TimedPart(name, budget, runs[name]) for name, budget in BUDGETS.items()], seconds)
    return report.finish()
