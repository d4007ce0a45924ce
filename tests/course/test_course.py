"""Solving a notebook, and grading handed-in copies of it, on a notebook of three cells."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from mvqlab.cli.main import main
from mvqlab.course.lecturer import CourseError, grade_folder, solve_file
from mvqlab.course.solutions import exercise_tags, read_solutions, solve

CHECK = 'with exercise("1") as check:\n    check.equal(answer, 42, "six by seven")'
SOLUTION = '"""Solutions."""\n\n# %% exercise-1\nanswer = 6 * 7\n'


def write_notebook(path: Path, answer: str = "answer = ...") -> Path:
    sources = ["from mvqlab.course.exercises import exercise", answer, CHECK]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.cells[1].metadata["tags"] = ["exercise-1"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def handed_out(tmp_path: Path) -> Path:
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "lesson.py").write_text(SOLUTION)
    return write_notebook(tmp_path / "lesson.ipynb")


def sources(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells]


def test_a_solved_notebook_holds_the_solutions_where_the_stubs_stood(handed_out, tmp_path, capsys):
    assert main(["course", "solve", str(handed_out), str(tmp_path / "solved.ipynb")]) == 0
    solved = nbformat.read(tmp_path / "solved.ipynb", as_version=4)
    assert sources(solved)[1:] == ["answer = 6 * 7", CHECK]
    assert exercise_tags(solved) == ["exercise-1"]
    assert sources(nbformat.read(handed_out, as_version=4))[1] == "answer = ..."


def test_solutions_that_do_not_match_the_exercises_are_refused(handed_out, tmp_path):
    notebook = nbformat.read(handed_out, as_version=4)
    with pytest.raises(ValueError, match="exercise-2"):
        solve(notebook, {"exercise-1": "", "exercise-2": ""})
    twice = tmp_path / "twice.py"
    twice.write_text("# %% exercise-1\na = 1\n# %% exercise-1\na = 2\n")
    with pytest.raises(ValueError, match="exercise-1 more than once"):
        read_solutions(twice)


def test_a_notebook_is_never_solved_over_itself_nor_without_solutions(handed_out, tmp_path):
    with pytest.raises(CourseError, match="name another file"):
        solve_file(handed_out, handed_out)
    with pytest.raises(CourseError, match="has no solutions"):
        solve_file(write_notebook(tmp_path / "other.ipynb"), tmp_path / "out.ipynb")


def test_what_was_written_by_hand_is_never_solved_over_unasked(handed_out, tmp_path, capsys):
    own = write_notebook(tmp_path / "own.ipynb", "answer = 40 + 2  # by hand")
    before = own.read_bytes()
    assert main(["course", "solve", str(handed_out), str(own)]) == 2
    assert "--fresh" in capsys.readouterr().err and own.read_bytes() == before
    assert main(["course", "solve", str(handed_out), str(own), "--fresh"]) == 0
    assert own.read_bytes() != before


def test_grades_are_never_written_over(handed_out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mvqlab.course.lecturer._grade", lambda *_: {"file": "", "exercise-1": "right"})
    folder = tmp_path / "copies"
    write_notebook(folder / "anna.ipynb")
    (folder / "grades.csv").write_text("by hand")
    grade = ["course", "grade", str(handed_out), str(folder)]
    assert main(grade) == main(grade) == 0
    assert (folder / "grades.csv").read_text() == "by hand"
    assert sorted(path.name for path in folder.glob("*.csv")) == [
        "grades-2.csv",
        "grades-3.csv",
        "grades.csv",
    ]
    assert main([*grade, "--out", str(folder / "grades.csv")]) == 2
    assert (folder / "grades.csv").read_text() == "by hand"


@pytest.mark.slow
def test_grading_runs_the_answers_with_the_checks_as_handed_out(handed_out, tmp_path, capsys):
    folder = tmp_path / "copies"
    write_notebook(folder / "anna" / "lesson.ipynb", "answer = 42")
    write_notebook(folder / "ben.ipynb", "answer = 41")
    write_notebook(folder / "cleo.ipynb")
    write_notebook(folder / "dora.ipynb", "raise SystemError('no idea')")
    cheat = nbformat.read(folder / "ben.ipynb", as_version=4)
    cheat.cells[2].source = 'print("Exercise 1: right.")'
    nbformat.write(cheat, folder / "emil.ipynb")
    (folder / "gina.ipynb").write_text("{")
    write_notebook(folder / "hugo.ipynb", "import os\nos._exit(1)")

    table = grade_folder(handed_out, folder, tmp_path / "grades.csv", seconds=600).set_index("file")
    assert table["exercise-1"].to_dict() == {
        "anna/lesson.ipynb": "right",
        "ben.ipynb": "not right yet",
        "cleo.ipynb": "not done yet",
        "dora.ipynb": "not right yet",
        "emil.ipynb": "not right yet",
        "gina.ipynb": "missing",
        "hugo.ipynb": "did not run",
    }
    assert table["n_right"].sum() == 1
    assert len((tmp_path / "grades.csv").read_text().splitlines()) == 8


@pytest.mark.slow
def test_a_cell_that_never_ends_is_told_from_a_wrong_answer(handed_out, tmp_path):
    write_notebook(tmp_path / "copies" / "finn.ipynb", "while True:\n    pass")
    (row,) = grade_folder(handed_out, tmp_path / "copies", tmp_path / "grades.csv", seconds=2).to_dict(
        "records"
    )
    assert (row["file"], row["exercise-1"], row["n_right"]) == ("finn.ipynb", "did not run", 0)


def test_grades_do_not_go_to_a_folder_and_nothing_runs_first(handed_out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mvqlab.course.lecturer._grade", lambda *_: pytest.fail("a copy ran"))
    write_notebook(tmp_path / "copies" / "anna.ipynb")
    out = tmp_path / "empty"
    out.mkdir()
    assert main(["course", "grade", str(handed_out), str(tmp_path / "copies"), "--out", str(out)]) == 2
    assert "is a folder: name the file" in capsys.readouterr().err


def test_grading_says_at_once_what_is_missing(handed_out, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, words in (("nowhere", "there is no folder"), ("empty", "holds no notebook")):
        with pytest.raises(CourseError, match=words):
            grade_folder(handed_out, tmp_path / folder, tmp_path / "grades.csv")
    assert not (tmp_path / "grades.csv").exists()
