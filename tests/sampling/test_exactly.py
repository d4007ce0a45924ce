"""Exactly n of L places, each kept by its odds: against all choices written out."""

from __future__ import annotations

import math
from itertools import combinations

import torch

from mvqlab.sampling.exactly import keep_exactly


def test_choices_come_as_often_as_their_odds_say() -> None:
    """Coins given how many are kept: the chance of a choice is the product of its odds, over that of all."""
    odds, n, n_draws = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1]), 2, 40_000
    kept = keep_exactly(
        odds.log().expand(n_draws, -1), torch.full((n_draws,), n), torch.Generator().manual_seed(0)
    )
    assert (kept.sum(dim=1) == n).all()
    law = {choice: math.prod(float(odds[place]) for place in choice) for choice in combinations(range(5), n)}
    for choice, weight in law.items():
        expected = weight / sum(law.values())
        found = float((kept[:, list(choice)].all(dim=1)).double().mean())
        assert abs(found - expected) < 5 * math.sqrt(expected * (1 - expected) / n_draws)


def test_each_image_keeps_its_own_number_and_nothing_that_is_forbidden() -> None:
    log_odds = torch.randn(5, 30, generator=torch.Generator().manual_seed(1)) * 20.0
    log_odds[:, ::3] = -torch.inf
    n = torch.tensor([0, 1, 7, 20, 25])  # of 20 places that may be kept
    kept = keep_exactly(log_odds, n, torch.Generator().manual_seed(2))
    assert kept.sum(dim=1).tolist() == [0, 1, 7, 20, 20]
    assert not kept[:, ::3].any()


def test_none_are_kept_of_images_that_want_none() -> None:
    assert not keep_exactly(torch.zeros(2, 4), torch.zeros(2).long(), torch.Generator()).any()
