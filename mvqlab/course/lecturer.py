"""What a lecturer does with the notebooks of the course: solve one, grade handed-in copies of one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

from mvqlab.course.grading.checker import names_bound
from mvqlab.course.grading.watch import Limits, run_checks
from mvqlab.course.solutions import TAG, exercise_tags, read_solutions, solve
from mvqlab.results.table_files import write_csv
from mvqlab.support.files import InTheWayError, check_nothing_in_the_way, whole_file
from mvqlab.support.progress import Progress

LARGEST_COPY = 64 * 2**20  # bytes of a notebook that is read at all


class CourseError(ValueError):
    """A notebook, its solutions or a folder of handed-in copies is missing or not what was expected."""


def solve_file(notebook: Path, out: Path, fresh: bool = False) -> Path:
    """Write `notebook` to `out`, its exercises solved by ``solutions/`` beside it.

    Raises CourseError; InTheWayError where `out` is there and may not be replaced (`fresh`).
    """
    path = notebook.parent / "solutions" / f"{notebook.stem}.py"
    if not path.exists():
        raise CourseError(f"{notebook} has no solutions: there is no {path}")
    if out.resolve() == notebook.resolve():
        raise CourseError(f"{out} is the notebook itself: name another file")
    if not fresh:
        check_nothing_in_the_way(out, "--fresh (fresh=True) replaces it")
    solved = solve(_read(notebook), read_solutions(path))
    with whole_file(out) as temporary:
        nbformat.write(solved, temporary)
    return out


def grade_folder(
    notebook: Path,
    folder: Path,
    out: Path,
    seconds: float = 300.0,
    *,
    jobs: int = 1,
    memory: float = 4.0,
) -> pd.DataFrame:
    """Run the answers of every copy of `notebook` under `folder`; a row a copy, also written to `out` (CSV).

    From a copy only the cells of its exercises are taken, by their tags; all other cells are those of
    `notebook`. They run in a process of their own, another one compares what they answer (see `grading`),
    and `jobs` copies run side by side. Columns: file, one an exercise (``right``, ``not right yet``, ``not
    done yet``, ``missing``, ``did not run``), n_right, of, seconds, note. A cell gets `seconds`, a copy
    `memory` GiB: what it runs into stands in `note`, and its exercises from there on did not run. What
    students wrote is run here: do it where it can do no harm.

    Raises CourseError, or InTheWayError where `out` is there already, a folder too, before anything runs.
    """
    handed_out, copies = _read(notebook), _copies(folder)
    if not exercise_tags(handed_out):
        raise CourseError(f"{notebook} has no exercises to grade")
    if out.is_dir():  # one with nothing in it is in nobody's way, and no file either
        raise InTheWayError(f"{out} is a folder: name the file of the table, as {out / 'grades.csv'}")
    check_nothing_in_the_way(out, "grades are never written over; name another file")
    rows: dict[Path, dict[str, object]] = {}
    limits = Limits(seconds, int(memory * 2**30))
    with Progress("grading", len(copies)) as progress, ThreadPoolExecutor(jobs) as pool:
        graded = {
            pool.submit(_grade, handed_out, notebook.parent, folder, copy, limits): copy for copy in copies
        }
        try:
            for future in as_completed(graded):
                copy = graded[future]
                rows[copy] = {**future.result(), "file": str(copy.relative_to(folder))}
                write_csv(_table(rows), out)
                progress.advance()
        except BaseException:  # Ctrl-C: no copy runs on
            limits.is_over.set()
            pool.shutdown(cancel_futures=True)
            raise
    return _table(rows)


def _table(rows: dict[Path, dict[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame([rows[copy] for copy in sorted(rows)])
    return table[["file", *table.columns.drop("file")]]


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"there is no notebook {path}") from None
    except Exception as error:
        # nbformat raises whatever its JSON and its schema checks raise
        raise CourseError(f"{path} is no notebook ({type(error).__name__}: {error})") from None


def _copies(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CourseError(f"there is no folder {folder}")
    copies = sorted(
        path
        for path in folder.rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts and not path.is_dir()
    )
    if not copies:
        raise CourseError(f"{folder} holds no notebook")
    return copies


def _grade(
    handed_out: NotebookNode, lessons: Path, folder: Path, copy: Path, limits: Limits
) -> dict[str, object]:
    tags = exercise_tags(handed_out)
    began = time.monotonic()
    verdicts, note = dict.fromkeys(tags, "missing"), ""
    try:
        answers = {tag: source for tag, source in _answers(_read_copy(copy)).items() if tag in tags}
        if answers:
            found, note = run_checks(_cells(handed_out, answers), lessons, folder, limits)
            verdicts |= {tag: found.get(tag.removeprefix(TAG), "did not run") for tag in answers}
    except Exception as error:  # whatever it is, it is this copy's: the others are graded
        note = " ".join(f"{'' if isinstance(error, CourseError) else type(error).__name__} {error}".split())
    n_right = list(verdicts.values()).count("right")
    spent = round(time.monotonic() - began, 1)
    return {"file": "", **verdicts, "n_right": n_right, "of": len(tags), "seconds": spent, "note": note[:200]}


def _read_copy(path: Path) -> NotebookNode:
    if not path.is_file():
        raise CourseError("it is no ordinary file")
    if path.stat().st_size > LARGEST_COPY:
        raise CourseError(f"it is larger than {LARGEST_COPY >> 20} MB")
    try:
        return _read(path)
    except RecursionError:
        raise CourseError("it is no notebook") from None


def _tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell that are words: copies are not all written by Jupyter."""
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _answers(notebook: NotebookNode) -> dict[str, str]:
    """The sources of the exercises' cells, by tag; an answer that was split over cells is put together."""
    answers: dict[str, list[str]] = {}
    for cell in notebook.cells:
        if cell.get("cell_type") == "code" and isinstance(cell.get("source"), str):
            for tag in {tag for tag in _tags(cell) if tag.startswith(TAG)}:
                answers.setdefault(tag, []).append(cell.source)
    return {tag: "\n".join(parts) for tag, parts in answers.items()}


def _cells(handed_out: NotebookNode, answers: dict[str, str]) -> list[dict[str, object]]:
    """The cells of code of the lesson; those of exercises with their answer and the names that they bind."""
    cells: list[dict[str, object]] = []
    for cell in handed_out.cells:
        if cell.cell_type != "code":
            continue
        tags = [tag for tag in _tags(cell) if tag.startswith(TAG)]
        answer = answers.get(tags[0], cell.source) if tags else None
        names = names_bound(cell.source) if tags else []
        cells.append({"source": cell.source, "answer": answer, "names": names})
    return cells
