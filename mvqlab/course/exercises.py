"""Exercises in notebooks: check an answer, and say what is wrong with it.

An exercise is a code cell with a stub, tagged `exercise-N`, and a cell that checks it:

    with exercise("1") as check:
        check.equal(nearest(features, codebook), nearest_codes(features, codebook), "Which axis is argmin's?")

In the lessons the second line is one call of `mvqlab.course.checks`, so that no cell shows the right answer
below the question. The stub runs unsolved. A wrong answer prints a hint and stops nothing. Solutions: see
`mvqlab.course.solutions`.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

VERDICTS: dict[str, str] = {}  # of the exercises checked in this process: right, not done yet, not right yet


class _NotRightError(Exception):
    """The answer is not right, or not there; the message is the hint."""


class exercise:  # noqa: N801 (a context manager, called like a function)
    """Check the answer to exercise `name` inside the `with`, then print one line on it.

    "right", "not done yet", "not right yet" with a hint, or what the answer's code raised and in which line
    of it. Nothing is raised, so a notebook runs on. The methods may be called one after the other; the
    first that fails ends the check.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> exercise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        said = str(error) if isinstance(error, _NotRightError) else "not right yet"
        if error is None or isinstance(error, Exception):
            VERDICTS[self.name] = "right" if error is None else said.partition(".")[0]
        if error is None:
            print(f"Exercise {self.name}: right.")
        elif isinstance(error, _NotRightError):
            print(f"Exercise {self.name}: {error}")
        elif isinstance(error, Exception):
            frames = traceback.extract_tb(trace)
            where = next((frame for frame in reversed(frames) if "ipykernel" in frame.filename), frames[-1])
            print(
                f"Exercise {self.name}: not right yet. {type(error).__name__}: {error}\n"
                f"    raised by `{where.line}` (line {where.lineno} of {where.name})"
            )
        else:
            return False  # Ctrl-C
        return True

    def done(self, *answers: object) -> None:
        """Every answer is something other than None or ``...``, which stubs leave."""
        if any(answer is None or answer is Ellipsis for answer in answers):
            raise _NotRightError("not done yet. Replace the `...` in the cell above.")

    def that(self, holds: bool | Tensor, hint: str) -> None:
        """The condition holds; `hint` says what to look at if it does not."""
        if not bool(holds):
            raise _NotRightError(f"not right yet. {hint}")

    def number(self, answer: object) -> float:
        """`answer` as a float. Words, True and False are none, though Python reads them so."""
        self.done(answer)
        values = _array(answer) if _holds_numbers(answer) else np.empty(2)
        if values.size != 1:
            raise _NotRightError(f"not right yet. One number is asked for, not {_kind(answer)}.")
        return float(values.item())

    def whole(self, answer: object) -> int:
        """`answer` as an int: one number, as `number` has it, without a fraction."""
        value = self.number(answer)
        if not value.is_integer():
            raise _NotRightError(f"not right yet. A whole number is asked for, not {value:g}.")
        return int(value)

    def equal(self, answer: object, truth: object, hint: str, tolerance: float = 1e-4) -> None:
        """`answer` has the shape of `truth` and its values, within `tolerance` absolute and relative."""
        self.done(answer)
        if not _holds_numbers(answer, may_be_bool=not _holds_numbers(truth)):
            raise _NotRightError(f"not right yet. Numbers are asked for, not {_kind(answer)}. {hint}")
        found, expected = _array(answer), _array(truth)
        if found.shape != expected.shape:
            raise _NotRightError(
                f"not right yet. The shape is {found.shape}, it should be {expected.shape}. {hint}"
            )
        is_close = np.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
        if not is_close.all():
            wrong = f"{(~is_close).sum()} of {is_close.size} values differ. " if is_close.size > 1 else ""
            raise _NotRightError(f"not right yet. {wrong}{hint}")


def _holds_numbers(values: object, may_be_bool: bool = False) -> bool:
    """Whether no part of `values` is a word, or, unless `may_be_bool`, True or False."""
    if isinstance(values, list | tuple):
        return all(_holds_numbers(part, may_be_bool) for part in values)
    if isinstance(values, Tensor):
        return may_be_bool or values.dtype != torch.bool
    kind = np.asarray(values).dtype.kind
    return kind in "iuf" or (kind == "b" and may_be_bool) or (kind == "O" and not isinstance(values, str))


def _kind(answer: object) -> str:
    names = {str: "text", bool: "True or False", np.bool_: "True or False"}
    return names.get(type(answer), f"such a {type(answer).__name__}")


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
