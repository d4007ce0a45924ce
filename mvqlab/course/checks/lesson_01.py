"""Checks of lesson 1's exercises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.models.codebook import nearest_codes
from mvqlab.models.restarts import ReleasedRestart


def exercise_1(check: exercise, nearest: Any, plane: Tensor, start: Tensor) -> None:
    """The nearest code without a tensor of differences."""
    check.equal(
        nearest(plane, start),
        nearest_codes(plane, start),
        "Is |e|^2 in it, one a code? Does the argmin run over codes (the last axis)?",
    )


def exercise_2(check: exercise, pass_through: Any) -> None:
    """The straight-through estimator."""
    point, code = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.0, 5.0], requires_grad=True)
    result = pass_through(point, code)
    check.equal(result, code, "The value should be the code's.")
    (result * torch.tensor([2.0, -1.0])).sum().backward()
    check.done(point.grad)
    check.equal(point.grad, [2.0, -1.0], "The gradient at the features should be what came from above.")
    check.that(code.grad is None, "No gradient should reach the code: detach the difference.")


def exercise_3(check: exercise, half_life: Any) -> None:
    """Steps until a weight is a half."""
    check.done(half_life)
    weight = 0.99 ** check.number(half_life)  # of a feature seen so many steps ago, against a new one
    check.that(abs(weight - 0.5) < 0.01, f"After {half_life} steps the weight is {weight:.3f}.")


def exercise_4(check: exercise, perplexity: Any) -> None:
    """Perplexity from counts."""
    check.equal(perplexity(torch.tensor([5, 5, 5, 5])), 4.0, "Four codes used alike have perplexity 4.")
    check.equal(perplexity(torch.tensor([7, 0, 0, 0])), 1.0, "0 log 0 counts as 0: see torch.special.entr.")
    check.equal(perplexity(torch.tensor([3, 1])), 1.7548, "Are the shares the counts over their sum?", 1e-3)


def exercise_5(check: exercise, smallest_batch: Any, codebook_size: int) -> None:
    """The smallest batch without needless restarts."""
    batch = check.whole(smallest_batch)
    rule, fair = ReleasedRestart(), torch.full((codebook_size,), 1.0)
    check.that(
        not rule.is_unused(fair * batch / codebook_size, 0.0).any()
        and rule.is_unused(fair * (batch - 1) / codebook_size, 0.0).all(),
        "Under uniform use a code is chosen B / K times a step, and its moving count tends to that.",
    )
