"""Speeds to be compared, measured in turns: what else the machine does then hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from mvqlab.evaluation.speed import timings


class Ratio(NamedTuple):
    """How many times as long one thing takes as another: median, least and largest over the rounds."""

    median: float
    low: float
    high: float


def side_by_side(
    ways: Mapping[str, Callable[[], object]],
    *,
    device: torch.device | str = "cpu",
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Wall-clock seconds of each of `ways`, one a round; a round calls each once, in their order.

    A first, untimed round warms all of them up. Each call is timed until `device` has finished its work.
    Raises ValueError for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"a comparison needs at least one round, got {rounds}")
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name] += timings(way, device=device, repeats=1, warmup=0, clock=clock)
    return seconds


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The ratio in each round of `side_by_side`; the median of these bears a disturbed round."""
    each = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))
