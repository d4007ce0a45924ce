"""Speeds side by side on a clock of our own, and the front of models worth having."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mvqlab.evaluation.samples.front import on_front
from mvqlab.evaluation.side_by_side import ratio, side_by_side


def test_ways_take_turns_after_a_round_that_is_not_timed() -> None:
    now, calls = [0.0], []

    def taking(name: str, seconds: float) -> Callable[[], object]:
        def run() -> None:
            calls.append(name)
            now[0] += seconds

        return run

    ways = {"a": taking("a", 2.0), "b": taking("b", 3.0)}
    found = side_by_side(ways, rounds=2, clock=lambda: now[0])
    assert found == {"a": [2.0, 2.0], "b": [3.0, 3.0]}
    assert calls == ["a", "b"] * 3
    with pytest.raises(ValueError, match="at least one round"):
        side_by_side(ways, rounds=0)


def test_the_ratio_is_taken_within_rounds() -> None:
    """A machine that slows down in round 2 slows both; the ratio does not see it."""
    assert ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == (2.0, 2.0, 3.0)


def test_the_front_by_hand() -> None:
    # (seconds, FID): the third is beaten by the second, the fourth equals the first, the last is fastest
    costs = [[3.0, 1.0], [2.0, 2.0], [2.0, 2.5], [3.0, 1.0], [1.0, 9.0]]
    assert on_front(costs).tolist() == [True, True, False, True, True]


def test_the_front_agrees_with_loops() -> None:
    costs = np.random.default_rng(0).integers(0, 6, (40, 3))

    def beaten(i: int) -> bool:
        return any((costs[j] <= costs[i]).all() and (costs[j] < costs[i]).any() for j in range(40))

    expected = [not beaten(i) for i in range(40)]
    assert on_front(costs).tolist() == expected and 0 < sum(expected) < 40


def test_missing_costs_are_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        on_front([[1.0, float("nan")]])
