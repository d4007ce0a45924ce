"""Lesson 11's checks: its solutions are right, and what students get wrong is told from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mvqlab.course.checks import lesson_11 as checks
from mvqlab.course.exercises import VERDICTS, exercise
from mvqlab.course.solutions import read_solutions

FILE = Path(__file__).parents[2] / "notebooks" / "solutions" / "11_other_ways.py"


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    names: dict[str, Any] = {"math": math, "torch": torch}
    for cell in read_solutions(FILE).values():
        exec(cell, names)
    return names


def verdict(check_of: Callable[..., None], *answers: Any) -> str:
    with exercise("lesson 11") as check:
        check_of(check, *answers)
    return VERDICTS.pop("lesson 11")


ANSWERS = {
    1: ("index_of", "steps_of"),
    2: ("dual_grain_bits", "equal_codebook"),
    3: ("places_fixed",),
    4: ("keep_exactly",),
    5: ("bits_of_view",),
}


@pytest.mark.parametrize("number", ANSWERS)
def test_the_solutions_are_right_and_stubs_are_not_done(number: int, right: dict[str, Any]) -> None:
    check_of = getattr(checks, f"exercise_{number}")
    assert verdict(check_of, *(right[name] for name in ANSWERS[number])) == "right"
    assert verdict(check_of, *((lambda *_: None) for _ in ANSWERS[number])) == "not done yet"


def last_is_fastest(steps: torch.Tensor, levels: list[int]) -> torch.Tensor:
    worth = torch.tensor([math.prod(levels[i + 1 :]) for i in range(len(levels))])
    return (steps * worth).sum(dim=1)


def from_one(index: torch.Tensor, levels: list[int]) -> torch.Tensor:
    worth = torch.tensor([1, *levels[:-1]]).cumprod(dim=0)
    return index.unsqueeze(1) // worth % torch.tensor(levels) + 1


def regions_chosen(fine: int, n_blocks: int, size: int) -> float:
    n = n_blocks + 3 * fine
    return n * math.log2(size) + math.log2(math.comb(4 * n_blocks, n))


def four_more(fine: int, n_blocks: int, size: int) -> float:
    return (n_blocks + 4 * fine) * math.log2(size) + math.log2(math.comb(n_blocks, fine))


def evenly(n_places: int, n_steps: int) -> list[int]:
    left = [n_places * (n_steps - step) // n_steps for step in range(n_steps + 1)]
    return [left[i] - left[i + 1] for i in range(n_steps)]


def none_waits(n_places: int, n_steps: int) -> list[int]:
    left = [int(n_places * math.cos(math.pi / 2 * step / n_steps)) for step in range(n_steps + 1)]
    return [left[i] - left[i + 1] for i in range(n_steps)]


def best_of(ranked: torch.Tensor, n: int) -> torch.Tensor:
    return torch.zeros_like(ranked, dtype=torch.bool).scatter(1, ranked.topk(n, dim=1).indices, True)


WRONG = {
    "the last runs fastest": (1, {"index_of": last_is_fastest}),
    "steps from 1": (1, {"steps_of": from_one}),
    "regions are chosen": (2, {"dual_grain_bits": regions_chosen}),
    "four codes more": (2, {"dual_grain_bits": four_more}),
    "the codebook of other blocks": (2, {"equal_codebook": 61}),
    "a codebook that is no number": (2, {"equal_codebook": "28"}),
    "as many in each step": (3, {"places_fixed": evenly}),
    "none waits for the last": (3, {"places_fixed": none_waits}),
    "without noise": (4, {"keep_exactly": lambda odds, uniform, n: best_of(odds, n)}),
    "noise upside down": (4, {"keep_exactly": lambda odds, u, n: best_of(odds + (-u.log()).log(), n)}),
    "each by its odds": (4, {"keep_exactly": lambda odds, u, n: odds.sigmoid() > u}),
    "numbers, not truths": (
        4,
        {"keep_exactly": lambda odds, u, n: best_of(odds - (-u.log()).log(), n).int()},
    ),
    "the hidden alone": (5, {"bits_of_view": lambda nats, hidden: (nats * hidden).sum(dim=1) / math.log(2)}),
    "in nats": (5, {"bits_of_view": lambda nats, h: nats.shape[1] * (nats * h).sum(dim=1) / h.sum(dim=1)}),
    "one n for all": (
        5,
        {"bits_of_view": lambda nats, h: 4 * (nats * h).sum(dim=1) / h.sum(dim=1)[0] / math.log(4)},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_not_right_yet(what: str, right: dict[str, Any]) -> None:
    number, changed = WRONG[what]
    answers = [{**right, **changed}[name] for name in ANSWERS[number]]
    assert verdict(getattr(checks, f"exercise_{number}"), *answers) == "not right yet"
