"""The timing helper, with a clock that the test turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mvqlab.evaluation.speed import images_per_second, seconds_per_step


class Clock:
    """Stands still until a step takes time."""

    def __init__(self, durations: list[float]) -> None:
        self.now, self.durations = 0.0, iter(durations)

    def __call__(self) -> float:
        return self.now

    def take_a_step(self, *_: object) -> None:
        self.now += next(self.durations)


def test_warm_up_is_not_timed_and_an_outlier_does_not_matter() -> None:
    clock = Clock([50.0, 40.0, 2.0, 1.0, 90.0])
    assert seconds_per_step(clock.take_a_step, repeats=3, warmup=2, clock=clock) == 2.0


def test_images_per_second_counts_the_batch() -> None:
    """The number of images is the batch's first dimension, not its channels."""
    clock = Clock([9.0, 0.5, 0.5, 0.5])
    assert images_per_second(clock.take_a_step, torch.zeros(7, 3, 2, 2), repeats=3, clock=clock) == 14.0


def test_images_per_second_builds_no_graph() -> None:
    seen: list[bool] = []

    def watch(batch: Tensor) -> None:
        seen.append(torch.is_grad_enabled())

    assert images_per_second(watch, torch.zeros(2, 3), repeats=2) > 0.0
    assert seen == [False] * 3


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one repeat"):
        seconds_per_step(lambda: None, repeats=0)
