"""Checks of lesson 3's exercises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.evaluation import importance_agreement
from mvqlab.evaluation.images.importance import expected_random_iou
from mvqlab.models.masking import MaskModule, keep_best, n_kept


def exercise_1(check: exercise, regions_to_keep: Any) -> None:
    """How many regions are kept."""
    check.equal(regions_to_keep(0.5, 64), 32, "The ratio is the share dropped, not the share kept.")
    check.equal(regions_to_keep(0.9, 100), 10, "int() cuts off, and (1 - 0.9) * 100 is just below 10.")
    check.equal(regions_to_keep(0.999, 64), 1, "Something must be left to decode from.")
    ratios = torch.linspace(0.0, 0.99, 34).tolist()
    check.equal([regions_to_keep(r, 64) for r in ratios], [n_kept(r, 64) for r in ratios], "Round once.")


def exercise_2(check: exercise, keep: Any, scores: Tensor, N: int, positions: Tensor) -> None:
    """The best regions and their mask."""
    answer = keep(torch.tensor([[0.1, 0.9, 0.3, 0.7], [0.8, 0.2, 0.6, 0.4]]), 2)
    check.done(answer)
    check.equal(answer[0], [[1, 3], [0, 2]], "Which two are best in each row? Do their positions rise?")
    check.equal(answer[1].int(), [[0, 1, 0, 1], [1, 0, 1, 0]], "Start from False everywhere, then scatter.")
    check.equal(keep(scores, N)[0], positions, "It should agree with the library on the real scores.")


def exercise_3(
    check: exercise,
    auc_of_random: Any,
    auc_upside_down: Any,
    scores: Tensor,
    N: int,
    importance: Tensor,
    n_images: int,
    L: int,
    seed: int,
) -> None:
    """AUC of random scores and of scores upside down."""
    check.done(auc_of_random, auc_upside_down)
    turned = importance_agreement(-scores, keep_best(-scores, N)[1], importance)
    drawn = torch.rand(n_images, L, generator=torch.Generator().manual_seed(seed + 1))
    of_drawn = importance_agreement(drawn, keep_best(drawn, N)[1], importance)
    hint = f"How often is one random score above another? Scores drawn here had {of_drawn.score_auc:.3f}."
    check.equal(auc_of_random, 0.5, hint, 0.02)
    check.equal(auc_upside_down, turned.score_auc, "Every pair that was in order is now out of order.", 1e-3)


def exercise_4(check: exercise, score_gradient: Any, mask: MaskModule) -> None:
    """Gradient of the scores."""
    own = torch.rand(2, 3, requires_grad=True)
    u, towards = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    weighed = mask.weigh(u, own)
    (weighed * towards).sum().backward()  # a loss whose gradient at z^ is `towards`
    check.equal(score_gradient(towards, u), own.grad, "One number a region: sum over its n_z channels.")


def exercise_5(check: exercise, weigh_without_shrinking: Any) -> None:
    """The gradient of the product without shrinking."""
    u, towards = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mine = torch.full((2, 3), 0.4, requires_grad=True)
    weighed = weigh_without_shrinking(u, mine)
    check.equal(weighed, u, "The value should not depend on the score: add and take away the same.")
    check.that(weighed.requires_grad, "No gradient reaches the scores: detach one of the two, not both.")
    (weighed * towards).sum().backward()
    check.equal(mine.grad, (towards * u).sum(dim=2), "Multiply the features by one plus something that is 0.")


def exercise_6(check: exercise, n_for_iou_1: Any, best_iou_at_32: Any, chance_iou_at_32: Any) -> None:
    """IoU that is reachable, and by chance."""
    check.done(n_for_iou_1, best_iou_at_32, chance_iou_at_32)
    check.equal(n_for_iou_1, 8, "Intersection and union are equal only if the two sets are.")
    check.equal(best_iou_at_32, 8 / 32, "All 8 hit: the union then has as many as were kept.")
    check.equal(chance_iou_at_32, expected_random_iou(32, 8, 64), "Half of the 8 are hit, on average.", 0.006)
