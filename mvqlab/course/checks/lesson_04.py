"""Checks of lesson 4's exercises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.models.demasking import initial_trust, update_trust


def exercise_1(
    check: exercise, attend: Any, query: Tensor, key: Tensor, value: Tensor, B: Tensor, scaled: Tensor
) -> None:
    """Constrained attention in one fused call."""
    hint = (
        "Scale the values, then let F.scaled_dot_product_attention work. Trust needs the shape (B, 1, L, 1)."
    )
    check.equal(attend(query, key, value, B), scaled @ value, hint, 1e-4)


def exercise_2(check: exercise, row_sum_if_uniform: Any, L: int, positions: Tensor) -> None:
    """The row sum of uniform attention."""
    check.done(row_sum_if_uniform)
    uniform = torch.full((1, L), 1 / L) * initial_trust(positions[:1], L, 0.02)
    check.equal(row_sum_if_uniform, uniform.sum(), "N places count in full, L - N count for 0.02 each.", 1e-3)


def exercise_3(check: exercise, update: Any, trust_in_layer: Any, B: Tensor, layers: int) -> None:
    """The update, and trust in closed form."""
    check.equal(update(B), update_trust(B), "Kept places stay at 1, dropped ones move towards it.")
    check.equal(trust_in_layer(1), 0.02, "The first layer has not seen an update yet.")
    expected, current = [], torch.tensor(0.02)
    for _ in range(layers):
        expected.append(current.item())
        current = update_trust(current)
    check.equal([trust_in_layer(n) for n in range(1, layers + 1)], expected, "Each root halves the exponent.")


def exercise_4(check: exercise, first_layer_above_half: Any) -> None:
    """The first layer whose trust is above a half."""
    check.done(first_layer_above_half)
    n = check.whole(first_layer_above_half)
    trusts = [0.02 ** (1 / 2 ** (k - 1)) for k in range(1, 9)]
    check.that(1 <= n <= 8 and trusts[n - 1] > 0.5, f"In layer {n} it is not above one half yet.")
    check.that(trusts[n - 2] <= 0.5 or n == 1, f"It is above one half before layer {n} already.")


def exercise_5(check: exercise, bias_of: Any, B: Tensor, query: Tensor, key: Tensor, scaled: Tensor) -> None:
    """The bias that renormalises."""
    check.done(bias_of(B))
    logits = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5)[:, 0]
    normalised = scaled[:, 0] / scaled[:, 0].sum(dim=2, keepdim=True)
    hint = "exp(logit + bias) should be exp(logit) times B_j; the softmax divides by the sum by itself."
    check.equal((logits + bias_of(B)).softmax(dim=2), normalised, hint, 1e-4)


def exercise_6(check: exercise, layer_above_95: Any) -> None:
    """The first layer whose row sum is above 0.95."""
    check.done(layer_above_95)
    n = check.whole(layer_above_95)
    row_sums = [0.5 * (1 + 0.02 ** (1 / 2 ** (k - 1))) for k in range(1, 13)]
    check.that(1 <= n <= 12 and row_sums[n - 1] > 0.95, f"In layer {n} it is still below: half of it is B.")
    check.that(n == 1 or row_sums[n - 2] <= 0.95, f"It is above 0.95 before layer {n} already.")
