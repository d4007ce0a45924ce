"""Checks of lesson 7's exercises."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mvqlab.course.exercises import exercise
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.front import on_front
from mvqlab.evaluation.samples.precision_recall import lies_within
from mvqlab.models.transformer import Block
from mvqlab.models.transformers import n_parameters


def exercise_1(check: exercise, block_parameters: Any) -> None:
    """Parameters of a block."""
    for width in (4, 32, 96):
        answer = block_parameters(width)
        check.done(answer)
        truth = n_parameters(Block(width, heads=4, dropout=0.0))
        check.equal(
            answer, truth, "Weights: 3 + 1 squares in attention, 4 + 4 in the MLP. Now the biases and norms."
        )


def exercise_2(check: exercise, bits_of_one_region: Any, K: int, L: int) -> None:
    """Bits of a single region."""
    check.done(bits_of_one_region)
    hint = "log2 K for the code and log2 L for the place; there is one of each."
    check.equal(bits_of_one_region, math.log2(K * L), hint, 1e-3)


def exercise_3(
    check: exercise,
    precision: Any,
    extractor: Any,
    samples: dict[tuple[str, str], Tensor],
    real_features: Tensor,
    radii: Tensor,
) -> None:
    """Precision."""
    line, reach = torch.tensor([[0.0], [10.0]]), torch.tensor([1.0, 3.0])
    points_on_it = torch.tensor([[-1.0], [4.0], [6.9], [12.0]])
    answer = precision(line, reach, points_on_it)
    check.equal(answer, 0.5, "In reach of 0 is -1, in reach of 10 is 12. One ball is enough: any, not all.")
    some = features_of(extractor, samples["Stackformer", "no filter"])
    truth = lies_within(some, real_features, k=3).double().mean()
    check.equal(
        precision(real_features, radii, some),
        truth,
        "`torch.cdist(drawn, real)` has a row for each drawn one.",
    )


def exercise_4(
    check: exercise, calls_stackformer: Any, calls_raster: Any, stage2: dict[str, nn.Module], N: int, L: int
) -> None:
    """Calls of blocks for an image."""
    check.done(calls_stackformer, calls_raster)
    n_blocks = {
        name: sum(isinstance(part, Block) for part in model.modules()) for name, model in stage2.items()
    }
    check.equal(calls_stackformer, N * n_blocks["Stackformer"], "N pairs, each through both stacks.")
    check.equal(calls_raster, L * n_blocks["raster"], "L codes, each through all blocks.")


def exercise_5(check: exercise, is_worth_having: Any, seed: int) -> None:
    """The models on the front."""
    example = ([1.0, 2.0, 2.0, 4.0], [3.0, 3.5, 2.0, 9.0])
    answer = is_worth_having(*example)
    check.equal(
        answer, [False, False, True, True], "Model 3 is faster and better than 1. Nothing is as fast as 4."
    )
    numbers = torch.rand(2, 30, generator=torch.Generator().manual_seed(seed)).double()
    truth = on_front(torch.stack([-numbers[0], numbers[1]], dim=1))
    check.equal(
        is_worth_having(*numbers.tolist()), truth, "As good everywhere, and better once: then it beats."
    )
    check.equal(is_worth_having([1.0, 1.0], [2.0, 2.0]), [True, True], "Equal models do not beat each other.")
