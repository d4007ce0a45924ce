"""How long work takes on a device: by its own events where it has them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


class Moment:
    """A point in the work that `device` was given so far."""

    def __init__(self, device: torch.device) -> None:
        self.event = torch.cuda.Event(enable_timing=True) if device.type == "cuda" else None
        if self.event is not None:
            self.event.record()
        self.seconds = time.perf_counter()

    def until(self, later: Moment) -> float:
        """Seconds of the device from here to `later`, which is waited for."""
        if self.event is None or later.event is None:
            return later.seconds - self.seconds
        later.event.synchronize()
        return self.event.elapsed_time(later.event) / 1e3


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int = 5, warmup: int = 2) -> float:
    """Median seconds of `run` on `device`, of `repeats` calls after `warmup` untimed ones."""
    for _ in range(warmup):
        run()
    times = []
    for _ in range(repeats):
        began = Moment(device)
        run()
        times.append(began.until(Moment(device)))
    return statistics.median(times)


def peak_mib(run: Callable[[], object], device: torch.device) -> float | None:
    """MiB that tensors hold on the device at most during `run`; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**20
