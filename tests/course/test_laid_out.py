"""`mvqlab course init`: the course in a folder of one's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mvqlab.cli import doctor
from mvqlab.cli.main import main
from mvqlab.course import laid_out
from mvqlab.grid import spec
from mvqlab.grid.points import build_points
from mvqlab.grid.spec import GridError, read_grid
from mvqlab.support.lab import LAB, lab_files

ROOT = Path(__file__).parents[2]


FEW = ["notebooks/03_importance.ipynb", "notebooks/ablation_point.ipynb", "ablations/quickstart.yaml"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The course has a few files only: each is flushed to the disk."""
    monkeypatch.setattr(laid_out, "lab_files", lambda lecturer: [Path(name) for name in FEW])


def test_a_student_gets_all_but_the_answers(tmp_path: Path) -> None:
    assert main(["course", "init", str(tmp_path / "course")]) == 0
    course = tmp_path / "course"
    there = {path.relative_to(course).as_posix() for path in course.rglob("*") if path.is_file()}
    assert {"notebooks/00_start_here.ipynb", "ablations/PROTOCOL.md", "results/reference/order.csv"} <= there
    assert not any("solutions" in name or "LECTURER" in name or "/book/" in name for name in there)
    for name in there - {".mvqlab"}:
        assert (course / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_lecturer_gets_the_answers_and_what_makes_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = lab_files()
    for_lecturers = {path.as_posix() for path in set(everything) - set(lab_files(lecturer=False))}
    names = {"LECTURER.md", "solutions/00_start_here.py", "book/conf.py", "book/static/course.css"}
    assert {f"notebooks/{name}" for name in names} <= for_lecturers
    monkeypatch.setattr(laid_out, "lab_files", lambda lecturer: everything[:3] if lecturer else [])
    assert main(["course", "init", str(tmp_path), "--lecturer"]) == 0
    assert all((tmp_path / path).is_file() for path in everything[:3])


@pytest.mark.usefixtures("few")
def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, *others = (tmp_path / name for name in FEW)
    mine.parent.mkdir()
    mine.write_text("my answers")
    assert main(["course", "init", str(tmp_path)]) == 2
    assert f"{mine} is there already: --fresh" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [mine.parent] and mine.read_text() == "my answers"
    assert main(["course", "init", str(tmp_path), "--fresh"]) == 0
    assert mine.read_bytes() == (ROOT / "notebooks" / mine.name).read_bytes()
    assert all(other.is_file() for other in others)


@pytest.mark.usefixtures("few")
def test_grids_of_a_laid_out_course_leave_their_results_in_it(tmp_path: Path) -> None:
    """Also inside another project, whose root would be taken otherwise."""
    (tmp_path / ".git").mkdir()
    assert main(["course", "init", str(tmp_path / "course")]) == 0
    grid = read_grid(tmp_path / "course" / "ablations" / "quickstart.yaml")
    assert grid.notebook == tmp_path / "course" / "notebooks" / "ablation_point.ipynb"
    assert grid.results == tmp_path / "course" / "results" / "quickstart"


def test_a_grid_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_grid("quickstart").path == LAB / "ablations" / "quickstart.yaml"
    (tmp_path / "ablations").mkdir()
    shutil.copy(LAB / "ablations" / "quickstart.yaml", "ablations/quickstart.yaml")
    monkeypatch.setattr(spec, "_first_file", lambda candidates: candidates[0])  # it lies elsewhere
    assert read_grid("quickstart").path == tmp_path / "ablations" / "quickstart.yaml", (
        "what is here goes first"
    )
    with pytest.raises(GridError, match="no grid 'quikstart' — did you mean 'quickstart'"):
        read_grid("quikstart")
    with pytest.raises(GridError, match=r"there is no grid file at .*absent\.yaml"):
        read_grid("absent.yaml")


def test_results_of_an_installed_grid_lie_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not among the installed packages, which nobody may write to."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(spec, "IS_COPY", True)
    grid = read_grid("quickstart")
    assert grid.results == tmp_path / "here" / "results" / "quickstart"
    assert len(build_points(grid)) == 5


def test_doctor_says_where_the_course_lies(capsys: pytest.CaptureFixture[str]) -> None:
    notebooks, grids, tables = doctor.check_course()
    assert (notebooks.state, grids.state, tables.state) == ("ok", "ok", "ok")
    assert re.match(r"\d+ files \*\.ipynb in ", notebooks.text) and str(LAB) in notebooks.text
