"""Checks of lesson 8's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.models.pair_model import PairModel
from mvqlab.models.stackformer import Stackformer
from mvqlab.sampling.filters import guided


def exercise_1(check: exercise, guide: Any) -> None:
    """Guided logits."""
    told, not_told = torch.randn(3, 7), torch.randn(3, 7)
    for s in (1.0, 0.0, 2.5):
        expected = guided(torch.cat([told, not_told]), s)
        check.equal(guide(told, not_told, s), expected, f"At s = {s:g}: 1 must give `told`, 0 `not_told`.")


def exercise_2(check: exercise, standard_error: Any) -> None:
    """The standard error of a share."""
    hint = "A share is a mean of zeros and ones, whose variance is p (1 - p)."
    check.equal(standard_error(0.3, 96), math.sqrt(0.3 * 0.7 / 96), hint)
    check.equal(standard_error(0.5, 400), 0.025, "Is the root there?")


def saved_bits(bits: pd.DataFrame) -> float:
    """Bits an image that the right class saves against being told nothing."""
    return bits.loc["nothing", "together"] - bits.loc["the right class", "together"]


def exercise_3(check: exercise, answer: Any, bits: pd.DataFrame) -> None:
    """Bits that the right class saves."""
    truth = saved_bits(bits)
    check.equal(answer, truth, "`together` of the row 'nothing' minus that of 'the right class'.")


def exercise_4(check: exercise, padding_mask: Any, caption_transformer: PairModel, tokens: Tensor) -> None:
    """Places that are real."""
    expected = caption_transformer.start.padding_mask(tokens)
    check.equal(padding_mask, expected, "True at all but the padding; the begin token is real.")


def exercise_5(
    check: exercise,
    rows_guided: Any,
    rows_unguided: Any,
    class_model: Stackformer,
    guidance: float,
    draw: Callable[..., Any],
    labels: Tensor,
    n_images: int,
) -> None:
    """Rows read at once, with and without guidance."""
    check.done(rows_guided, rows_unguided)
    read = []
    note = class_model.code_transformer.register_forward_pre_hook
    hook = note(lambda module, given: read.append(len(given[0])))
    for s in (guidance if guidance != 1.0 else 2.0, 1.0):
        draw(labels[:n_images], s, s)
    hook.remove()
    answers = [rows_guided, rows_unguided]
    check.equal(answers, [max(read), min(read)], "Every guided image has a second sequence beside it.")
