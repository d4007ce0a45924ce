"""Self-checks of exercises: one line each, the right one, whatever a student's code does."""

from __future__ import annotations

import pytest
import torch

from mvqlab.exercises import exercise


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip()


def test_a_right_answer_is_said_to_be_right(capsys):
    with exercise("1") as check:
        check.done(3)
        check.equal(torch.tensor([1.0, 2.0]), [1.0, 2.00001], "hint")
        check.that(torch.tensor(True), "hint")
    assert said(capsys) == "Exercise 1: right."


@pytest.mark.parametrize("stub", [None, ...])
def test_a_stub_is_not_called_wrong(stub, capsys):
    with exercise("2") as check:
        check.equal(stub, [1.0], "hint")
    assert said(capsys) == "Exercise 2: not done yet. Replace the `...` in the cell above."


def test_a_wrong_value_says_how_many_and_hints(capsys):
    with exercise("3") as check:
        check.equal([1.0, 5.0, 7.0], [1.0, 2.0, 3.0], "Look at the axis.")
    assert said(capsys) == "Exercise 3: not right yet. 2 of 3 values differ. Look at the axis."


def test_a_wrong_shape_says_both_shapes(capsys):
    with exercise("3") as check:
        check.equal(torch.zeros(2, 3), torch.zeros(3, 2), "Transpose?")
    assert said(capsys) == "Exercise 3: not right yet. The shape is (2, 3), it should be (3, 2). Transpose?"


def test_what_does_not_hold_is_hinted_at_and_later_checks_are_left_out(capsys):
    with exercise("4") as check:
        check.that(False, "No.")
        check.that(False, "Never said.")
    assert said(capsys) == "Exercise 4: not right yet. No."


def test_an_error_in_the_answer_is_told_with_its_line_and_stops_nothing(capsys):
    def answer() -> float:
        return 1 / 0

    with exercise("5") as check:
        check.equal(answer(), 1.0, "hint")
    words = said(capsys)
    assert words.startswith("Exercise 5: not right yet. ZeroDivisionError: division by zero")
    assert "raised by `return 1 / 0`" in words and "of answer" in words


def test_stopping_the_notebook_stops_it():
    with pytest.raises(KeyboardInterrupt), exercise("6"):
        raise KeyboardInterrupt
