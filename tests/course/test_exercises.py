"""Self-checks of exercises: one line each, the right one, whatever a student's code does, no answer shown."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import torch

from mvqlab.course.exercises import exercise
from mvqlab.course.solutions import exercise_tags

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))


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


def checks_of(path: Path) -> dict[str, ast.With]:
    """The `with exercise(...)` of a lesson, by name."""
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for node in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
            if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr.func) == "exercise":
                found[node.items[0].context_expr.args[0].value] = node
    return found


def gives_away(check: ast.With, name: str) -> list[str]:
    """What a check holds besides one call of the library with names alone: values, formulas, hints."""
    first, *after = check.body
    call = first.value if isinstance(first, ast.Expr) else None
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != f"checks.exercise_{name}":
        return [ast.unparse(check)]
    told = [ast.unparse(part) for part in [*call.args, *call.keywords] if not isinstance(part, ast.Name)]
    names = [node for later in after for node in ast.walk(later) if isinstance(node, ast.Name)]
    return told + [node.id for node in names if node.id in ("check", "checks")]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_check_shows_the_answer_below_the_question(path):
    found = checks_of(path)
    tags = exercise_tags(nbformat.read(path, as_version=4))
    assert [f"exercise-{name}" for name in found] == tags
    shown = {name: gives_away(check, name) for name, check in found.items()}
    assert [name for name, parts in shown.items() if parts] == [], shown
    module = import_module(f"mvqlab.course.checks.lesson_{path.stem[:2]}")
    assert all(hasattr(module, f"exercise_{name}") for name in found)


@pytest.mark.parametrize(
    "line",
    [
        "check.equal(answer, 64, 'hint')",
        "checks.exercise_1(check, answer, 64)",
        "checks.exercise_1(check, answer, right=K * L)",
        "checks.exercise_1(check, answer)\n    check.equal(answer, K * L, 'hint')",
    ],
)
def test_a_check_that_shows_the_answer_is_found(line):
    (check,) = ast.parse(f"with exercise('1') as check:\n    {line}").body
    assert gives_away(check, "1")
