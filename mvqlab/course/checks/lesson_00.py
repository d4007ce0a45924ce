"""Checks of lesson 0's exercises."""

from __future__ import annotations

import math
from typing import Any

import torch

from mvqlab.course.exercises import exercise
from mvqlab.models.masking import n_kept


def exercise_1(check: exercise, pairs_of_large_image: Any) -> None:
    """Pairs of a larger image."""
    check.done(pairs_of_large_image)
    check.equal(pairs_of_large_image, n_kept(0.9, 32 * 32), "The mask ratio is the share that is dropped.")


def exercise_2(check: exercise, bits: Any) -> None:
    """Bits of an image."""
    check.equal(bits(1, 1, 512), 9.0, "One code of 512 takes 9 bits, if there is but one place.")
    check.equal(bits(2, 4, 2), 2 + math.log2(6), "Two of four places can be chosen in math.comb(4, 2) ways.")


def exercise_3(check: exercise, moved_down: Any) -> None:
    """Places one row further down."""
    check.equal(
        moved_down(torch.tensor([0, 4, 5]), 3), [3, 7, 8], "How far apart are two places in a column?"
    )
    check.equal(moved_down(torch.tensor([6, 8]), 3), [0, 2], "From the last row on, count from 0 again: %.")
