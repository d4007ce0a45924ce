"""The timing helper, with a clock that the test turns."""

from __future__ import annotations

import pytest

from mvqlab.evaluation.speed import seconds_per_step


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


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one repeat"):
        seconds_per_step(lambda: None, repeats=0)
