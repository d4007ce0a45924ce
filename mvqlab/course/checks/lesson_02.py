"""Checks of lesson 2's exercises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.evaluation.codebook.neighbours import nearest_others
from mvqlab.evaluation.codebook.usage import codebook_redundancy
from mvqlab.evaluation.images.rate import code_bits, position_bits
from mvqlab.evaluation.images.region_drop import rank_correlations
from mvqlab.models.mqvae import TokenModel


def exercise_1(check: exercise, relative_nearest: Any, models: dict[str, TokenModel], plain: str) -> None:
    """Nearest distances over the mean distance."""
    few = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])  # distances 5, 3 and 4, mean 4
    check.equal(relative_nearest(few), [0.75, 1.0, 0.75], "The mean is over pairs of two different codes.")
    codes = models[plain].codebook.double()
    check.equal(relative_nearest(codes), nearest_others(codes).distance, "It differs on the real codebook.")
    library = codebook_redundancy(codes).nearest_distance
    check.equal(relative_nearest(codes).mean(), library, "The mean should be the table's number.")


def exercise_2(check: exercise, rank_of: Any, models: dict[str, TokenModel], masked: str) -> None:
    """Effective rank."""
    cross = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    check.equal(rank_of(cross), 3.0, "Codes at +-1 on three axes have rank 3.")
    check.equal(rank_of(cross + 100.0), 3.0, "Where the cloud lies should not matter: take the mean away.")
    codes = models[masked].codebook.double()
    library = codebook_redundancy(codes).effective_rank
    check.equal(rank_of(codes), library, "Are these the shares of the singular values, not of their squares?")


def exercise_3(
    check: exercise,
    median_threshold: Any,
    share_of_masked: Any,
    near: dict[str, Tensor],
    plain: str,
    masked: str,
) -> None:
    """The median of the nearest distances, and a share below it."""
    check.done(median_threshold, share_of_masked)
    known = {name: distances[~distances.isnan()] for name, distances in near.items()}
    half = (known[plain] < median_threshold).double().mean()
    check.that(abs(half - 0.5) < 0.02, f"With this threshold {half:.1%} of the plain model's codes count.")
    share = (known[masked] < median_threshold).double().mean()
    check.equal(share_of_masked, share, "Count the masked model's codes below the plain one's median.", 0.02)


def exercise_4(
    check: exercise, predict_cost: Any, colours: Tensor, covered: Tensor, costs: dict[str, Tensor]
) -> None:
    """A better guess of costs than the true objects."""
    mine = predict_cost(colours)
    check.done(mine)
    check.that(mine.shape == covered.shape, "There should be one number for each region of each image.")
    truth = costs["its neighbours"]
    ours, theirs = (rank_correlations(values, truth).nanmean() for values in (mine, covered))
    hint = f"Yours correlates {ours:.2f}, coverage {theirs:.2f}. How far is a colour from its guess?"
    check.that(ours > theirs, hint)


def exercise_5(check: exercise, bits_of_image: Any) -> None:
    """Bits of an image."""
    check.equal(
        bits_of_image(64, 64, 256.0), 512.0, "64 codes of 8 bits; there is one way to keep all.", 1e-3
    )
    check.equal(
        bits_of_image(1, 64, 1.0), 6.0, "A code without choice costs 0 bits, one of 64 places 6.", 1e-3
    )
    truth = code_bits(32, 400.0) + position_bits(64, 32)
    check.equal(
        bits_of_image(32, 64, 400.0), truth, "Add the bits of the codes and those of the choice.", 1e-3
    )
