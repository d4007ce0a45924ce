"""How long things take: medians over repeats, with the device waited for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def seconds_per_step(
    step: Callable[[], object],
    *,
    device: torch.device | str = "cpu",
    repeats: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median wall-clock seconds of one call of `step`, of `repeats` calls after `warmup` untimed ones.

    Each call is timed until `device` has finished its work. Raises ValueError for fewer than one repeat.
    """
    return statistics.median(timings(step, device=device, repeats=repeats, warmup=warmup, clock=clock))


def timings(
    step: Callable[[], object],
    *,
    device: torch.device | str = "cpu",
    repeats: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Wall-clock seconds of each of `repeats` calls of `step`, after `warmup` untimed ones.

    Raises ValueError for fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"a timing needs at least one repeat, got {repeats}")
    for _ in range(warmup):
        step()
    return [_time(step, torch.device(device), clock) for _ in range(repeats)]


def wait_for(device: torch.device | str) -> None:
    """Return when `device` has finished its work. Other devices than the CPU work on by themselves."""
    device = torch.device(device)
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _time(step: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    wait_for(device)
    began = clock()
    step()
    wait_for(device)
    return clock() - began
