"""Power, seeds and Holm's correction against published values, simulation and one another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvqlab.results.power import (
    holds_from,
    holm,
    power_of_absence,
    power_of_difference,
    power_table,
    power_to_hold,
    seeds_for,
)
from mvqlab.results.summary import SummaryError


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_are_those_of_the_textbooks_for_a_paired_t_test(effect: float, n: int) -> None:
    """Two-sided, 5 %, power 80 %: what G*Power gives for effects in standard deviations."""
    assert seeds_for(effect, 1.0) == n


@pytest.mark.parametrize(("effect", "spread", "n"), [(0.4, 0.5, 6), (1.0, 0.5, 3), (0.0, 1.0, 5)])
def test_power_is_how_often_an_experiment_sees_the_effect(effect: float, spread: float, n: int) -> None:
    drawn = np.random.default_rng(0).normal(effect, spread, (40_000, n))
    t_values = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / np.sqrt(n))
    from scipy.stats import t

    seen = np.mean(np.abs(t_values) > t.ppf(0.975, n - 1))
    assert power_of_difference(effect, spread, n) == pytest.approx(seen, abs=0.01)


@pytest.mark.parametrize(("margin", "n"), [(0.5, 8), (0.5, 20), (1.5, 4)])
def test_power_of_absence_is_how_often_a_test_against_the_effect_passes(margin: float, n: int) -> None:
    drawn = np.random.default_rng(0).normal(0.0, 1.0, (40_000, n))
    from scipy.stats import t

    half = t.ppf(0.95, n - 1) * drawn.std(axis=1, ddof=1) / np.sqrt(n)
    shown = np.mean(drawn.mean(axis=1) + half < margin)
    assert power_of_absence(margin, 1.0, n) == pytest.approx(shown, abs=0.01)


@pytest.mark.parametrize(
    ("true", "effect", "n"), [(1.0, 1.0, 6), (1.5, 1.0, 5), (3.0, 0.2, 3), (0.5, 1.0, 9)]
)
def test_power_to_hold_is_how_often_a_verdict_says_so(true: float, effect: float, n: int) -> None:
    drawn = np.random.default_rng(0).normal(true, 1.0, (40_000, n))
    from scipy.stats import t

    means, errors = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(n)
    held = np.mean((means > t.ppf(0.975, n - 1) * errors) & (means >= effect))
    assert power_to_hold(true, effect, 1.0, n) == pytest.approx(held, abs=0.01)


def test_a_difference_just_as_large_holds_in_half_of_all_experiments_at_most() -> None:
    for n in (6, 30, 300):
        assert power_to_hold(1.0, 1.0, 0.44, n) <= 0.5 + 1e-9
        least = holds_from(1.0, 0.44, n)
        assert power_to_hold(least, 1.0, 0.44, n) == pytest.approx(0.8, abs=1e-3)
    assert holds_from(1.0, 0.0, 3) == 1.0 and power_to_hold(0.9, 1.0, 0.0, 3) == 0.0
    assert holds_from(1.0, 0.44, 300) == pytest.approx(1.0 + 0.8416 * 0.44 / np.sqrt(300), abs=1e-3)


def test_holm_against_an_example_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferronis(values: list[float]) -> None:
    corrected = holm(values)
    for one, p in zip(corrected, values, strict=True):
        assert p <= one <= min(1.0, len(values) * p)
    for a, b in zip(
        np.argsort(values, kind="stable")[:-1], np.argsort(values, kind="stable")[1:], strict=True
    ):
        assert corrected[a] <= corrected[b]


def test_more_hypotheses_and_smaller_effects_need_more_seeds_and_nothing_comes_of_nothing() -> None:
    assert seeds_for(0.5, 1.0, tests=7) > seeds_for(0.5, 1.0) > seeds_for(1.0, 1.0)
    assert seeds_for(0.001, 1.0) is None
    assert seeds_for(0.5, 0.0) == 2


def test_a_table_says_what_the_next_one_needs() -> None:
    first, second = [3.0, 4.0, 6.0], [2.0, 2.0, 5.0]  # differences 1, 2, 1: spread 0.577
    rows = [
        {"arm": arm, "seed": seed, "psnr": value, "status": "done"}
        for arm, values in (("a", first), ("b", second))
        for seed, value in enumerate(values)
    ]
    row = power_table(pd.DataFrame(rows), "arm", "a", "b", [], {"psnr": 1.0}).iloc[0]
    assert row["n"] == 3 and row["spread"] == pytest.approx(np.std([1, 2, 1], ddof=1))
    assert row["seeds"] == seeds_for(1.0, row["spread"])
    assert row["power"] == pytest.approx(power_of_difference(1.0, row["spread"], 3))
    with pytest.raises(SummaryError, match="no two seeds"):
        power_table(pd.DataFrame(rows[:1] + rows[3:4]), "arm", "a", "b", [], {"psnr": 1.0})
