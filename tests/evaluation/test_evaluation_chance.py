"""The loss of pure chance, against counting."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pytest
import torch

from mvqlab.evaluation.likelihood.chance import rising_chance, sequence_chance

L, N = 7, 3
ALL = torch.tensor(list(combinations(range(L), N)))


def test_every_rising_sequence_is_as_likely_as_any_other() -> None:
    nats = rising_chance(ALL, L)
    assert nats.shape == (math.comb(L, N), N)
    torch.testing.assert_close(nats.sum(1), torch.full((len(ALL),), math.log(math.comb(L, N))).double())


def test_a_step_is_the_share_of_sequences_that_take_it() -> None:
    nats = rising_chance(ALL, L)
    for row, found in zip(ALL.tolist(), nats.tolist(), strict=True):
        for n in range(N):
            alike = [other for other in ALL.tolist() if other[:n] == row[:n]]
            same = [other for other in alike if other[n] == row[n]]
            assert found[n] == pytest.approx(-math.log(len(same) / len(alike)), abs=1e-9)


def test_means_by_counting() -> None:
    assert sequence_chance(N, L) == pytest.approx(math.log(len(ALL)) / N)
    n_orders = len(list(permutations(range(L), N)))
    assert sequence_chance(N, L, is_rising=False) == pytest.approx(math.log(n_orders) / N)


@pytest.mark.parametrize("positions", [[[2, 1, 3]], [[1, 1, 2]], [[4, 5, 7]]])
def test_positions_that_do_not_rise_within_the_grid_are_refused(positions: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="rise from 0 to 6"):
        rising_chance(torch.tensor(positions), L)
