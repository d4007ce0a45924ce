"""Checks of lesson 11's exercises."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch

from mvqlab.course.exercises import exercise
from mvqlab.evaluation.images.rate import block_bits, position_bits
from mvqlab.models.dual_grain import n_pairs_of
from mvqlab.models.masking import keep_best
from mvqlab.sampling.parallel import hidden_after


def exercise_1(check: exercise, index_of: Any, steps_of: Any) -> None:
    """Numbers of FSQ's tuples, and back."""
    few = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 4, 3]])
    check.equal(
        index_of(few, [3, 5, 4]),
        [0, 1, 3, 15, 59],
        "A step of number i is worth as much as all steps before it together: the product of their levels.",
    )
    for levels in ([3, 5, 4], [8, 8], [7]):
        everything = torch.arange(math.prod(levels))
        steps = steps_of(everything, levels)
        check.done(steps)
        hint = f"With levels {levels} the way back should give {len(levels)} numbers for each code,"
        check.that(tuple(steps.shape) == (len(everything), len(levels)), f"{hint} (M, d).")
        limits = torch.tensor(levels)
        check.that(((steps >= 0) & (steps < limits)).all(), f"{hint} each from 0 to its levels less one.")
        worth = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        check.equal((steps * worth).sum(dim=1), everything, f"{hint} the first running fastest.")


def exercise_2(check: exercise, dual_grain_bits: Any, equal_codebook: Any) -> None:
    """Bits of dual grain, and the codebook that makes them equal."""
    check.equal(
        dual_grain_bits(0, 16, 2),
        16.0,
        "All blocks coarse: a code each, and one way to choose none of them.",
    )
    check.equal(dual_grain_bits(4, 4, 8), 48.0, "All blocks fine: four codes each, and nothing to choose.")
    for fine, n_blocks, size in ((4, 16, 61), (1, 9, 100), (20, 64, 26)):
        n = n_pairs_of(fine, 4 * n_blocks)
        expected = n * math.log2(size) + block_bits(4 * n_blocks, n)
        hint = "A fine block has three codes more than a coarse one. What is chosen are blocks, not regions."
        check.equal(dual_grain_bits(fine, n_blocks, size), expected, hint)
    codebook = check.number(equal_codebook)
    n, anchor = n_pairs_of(6, 64), 16 * 8 + position_bits(64, 16)
    off = [abs(n * math.log2(size) + block_bits(64, n) - anchor) for size in range(1, 257)]
    hint = "Take what the choice of blocks costs from the bits to spend, share the rest among the pairs."
    check.equal(codebook, 1 + off.index(min(off)), f"{hint} K is a whole number: the nearest one.")


def exercise_3(check: exercise, places_fixed: Any) -> None:
    """How many places each step fixes."""
    check.equal(places_fixed(64, 1), [64], "In a single step everything is fixed.")
    check.equal(
        places_fixed(2, 4), [1, 0, 0, 1], "One place at least waits for the last step, and none after it."
    )
    for n_places, n_steps in ((64, 8), (256, 10), (5, 3), (1, 6)):
        start = torch.tensor([n_places])
        left = [n_places, *(int(hidden_after(step, n_steps, start)) for step in range(1, n_steps + 1))]
        truth = [before - after for before, after in pairwise(left)]
        which = f"{n_places} places in {n_steps} steps:"
        answer = places_fixed(n_places, n_steps)
        check.done(answer)
        check.that(
            len(answer) == n_steps and sum(int(n) for n in answer) == n_places,
            f"{which} one number a step, and all places are fixed in the end.",
        )
        check.equal(answer, truth, f"{which} a step fixes what was hidden before it and is not after.")


def exercise_4(check: exercise, keep_exactly: Any) -> None:
    """Exactly n places by Gumbel's top."""
    generator = torch.Generator().manual_seed(11)
    log_odds = 2.0 * torch.randn(200, 12, generator=generator)
    uniform = torch.rand(200, 12, generator=generator).clamp(1e-6, 1.0 - 1e-6)
    noisy = log_odds - (-uniform.log()).log()
    for n in (1, 5, 12):
        answer = keep_exactly(log_odds, uniform, n)
        check.done(answer)
        check.that(
            isinstance(answer, torch.Tensor) and (answer.shape, answer.dtype) == (log_odds.shape, torch.bool),
            "The answer should be True or False for each place, (B, L).",
        )
        check.equal(answer.sum(dim=1), [n] * 200, f"Of each image exactly {n} should be kept.")
        check.equal(
            answer.int(),
            keep_best(noisy, n)[1].int(),
            "The n best of log-odds plus noise -log(-log u): mind both signs, and rank each image by itself.",
        )


def exercise_5(check: exercise, bits_of_view: Any) -> None:
    """What an image costs, from one view of it."""
    nats = torch.tensor([[1.0, 2.0, 3.0, 6.0]]) * math.log(2)
    everything = torch.ones(1, 4, dtype=torch.bool)
    check.equal(bits_of_view(nats, everything), [12.0], "All hidden: their sum. log 2 nats are one bit.")
    views = torch.eye(4).bool()  # four views, each with one place hidden
    each = bits_of_view(nats.expand(4, 4), views)
    check.equal(
        each,
        [4.0, 8.0, 12.0, 24.0],
        "A hidden place stands for all others as well: of n hidden ones each counts L / n times.",
    )
    two = torch.tensor([[True, True, False, False], [False, True, False, True]])
    check.equal(
        bits_of_view(nats.expand(2, 4), two), [6.0, 16.0], "n is each image's own number of hidden places."
    )
