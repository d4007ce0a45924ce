"""What a lecturer does with the notebooks of the course: solve one, grade handed-in copies of one."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from mvqlab.files import check_nothing_in_the_way, whole_file
from mvqlab.grid.execute import ThisPython
from mvqlab.progress import Progress
from mvqlab.solutions import TAG, exercise_tags, read_solutions, solve
from mvqlab.tables import write_csv

VERDICT = re.compile(r"^Exercise (\w+): (right|not done yet|not right yet)", re.MULTILINE)


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


def grade_folder(notebook: Path, folder: Path, out: Path, seconds: float = 300.0) -> pd.DataFrame:
    """Run the answers of every copy of `notebook` under `folder`; a row a copy, also written to `out` (CSV).

    From a copy only the cells of its exercises are taken, by their tags, and put into `notebook` as it was
    handed out: the checks are always the lecturer's own. Columns: file, one an exercise (``right``, ``not
    right yet``, ``not done yet``, ``missing``, ``did not run``), n_right, of, seconds. A cell gets `seconds`;
    what stands after one that takes longer did not run. What students wrote is run here: do it where it can
    do no harm.

    Raises CourseError, or InTheWayError where `out` is there already, before anything runs.
    """
    handed_out, copies = _read(notebook), _copies(folder)
    if not exercise_tags(handed_out):
        raise CourseError(f"{notebook} has no exercises to grade")
    check_nothing_in_the_way(out, "grades are never written over; name another file")
    rows: list[dict[str, object]] = []
    with Progress("grading", len(copies)) as progress:
        for copy in copies:
            row = _grade(handed_out, notebook.parent, copy, seconds)
            rows.append({**row, "file": str(copy.relative_to(folder))})
            write_csv(pd.DataFrame(rows), out)
            progress.advance()
    table = pd.DataFrame(rows)
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
    copies = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not copies:
        raise CourseError(f"{folder} holds no notebook")
    return copies


def _grade(handed_out: NotebookNode, folder: Path, copy: Path, seconds: float) -> dict[str, object]:
    tags = exercise_tags(handed_out)
    began = time.monotonic()
    try:
        answers = _answers(_read(copy))
    except CourseError:
        verdicts = dict.fromkeys(tags, "missing")
    else:
        stubs = _answers(handed_out)
        answered = solve(handed_out, {tag: answers.get(tag, stubs[tag]) for tag in tags})
        printed = _run(answered, folder, seconds)
        found = {f"{TAG}{name}": verdict for name, verdict in VERDICT.findall(printed)}
        verdicts = {tag: found.get(tag, "did not run") for tag in tags}
        verdicts |= dict.fromkeys(set(tags) - set(answers), "missing")
    n_right = list(verdicts.values()).count("right")
    spent = round(time.monotonic() - began, 1)
    return {"file": "", **verdicts, "n_right": n_right, "of": len(tags), "seconds": spent}


def _answers(notebook: NotebookNode) -> dict[str, str]:
    """The sources of the exercises' cells, by tag."""
    return {
        tag: cell.source for cell in notebook.cells for tag in cell.metadata.get("tags", []) if TAG in tag
    }


def _run(notebook: NotebookNode, folder: Path, seconds: float) -> str:
    """Run `notebook` in `folder`, through errors too, and return what it printed."""
    client = NotebookClient(
        notebook,
        timeout=seconds,
        allow_errors=True,
        kernel_manager_class=ThisPython,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with suppress(CellTimeoutError, DeadKernelError):  # what was printed until then counts
        client.execute()
    streams = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream"]
    return "".join(output.text for output in streams if output.name == "stdout")
