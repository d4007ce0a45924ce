"""The solutions of a notebook's exercises, put where the stubs stand.

They lie in `notebooks/solutions/`, one file a notebook, in cells headed `# %% exercise-N` like the tag of the
stub that they replace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode, v4

TAG = "exercise-"
CELL_HEAD = re.compile(r"^# %% (exercise-\w+)\s*$", re.MULTILINE)


def read_solutions(path: Path) -> dict[str, str]:
    """The cells of a file of solutions, by their tag (``exercise-1``).

    What stands before the first is dropped. Raises ValueError if a tag occurs twice.
    """
    parts = CELL_HEAD.split(path.read_text(encoding="utf-8"))[1:]
    tags, cells = parts[::2], [cell.strip() for cell in parts[1::2]]
    twice = sorted({tag for tag in tags if tags.count(tag) > 1})
    if twice:
        raise ValueError(f"{path} holds {', '.join(twice)} more than once")
    return dict(zip(tags, cells, strict=True))


def exercise_tags(notebook: NotebookNode) -> list[str]:
    """The tags of a notebook's exercises, in its order."""
    return [tag for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag.startswith(TAG)]


def solve(notebook: NotebookNode, solutions: Mapping[str, str], keep_stubs: bool = False) -> NotebookNode:
    """`notebook` with its exercises' stubs replaced by `solutions`, by tag.

    With `keep_stubs` each exercise first stands as a student finds it, with its check, and then solved, with
    its check again: one run shows that the stub runs and that the solution is right.

    Raises ValueError, naming the tags, unless solutions and exercises are the same.
    """
    strange = sorted(set(exercise_tags(notebook)) ^ set(solutions))
    if strange:
        raise ValueError(f"only the notebook or only its solutions hold {', '.join(strange)}")
    solved = deepcopy(notebook)
    cells: list[NotebookNode] = []
    pending = ""  # the solution of the stub that was just passed, until its check
    for cell in solved.cells:
        tag = next((tag for tag in cell.metadata.get("tags", []) if tag.startswith(TAG)), "")
        if tag and not keep_stubs:
            cell = v4.new_code_cell(solutions[tag], metadata=cell.metadata)
        cells.append(cell)
        if tag:
            pending = solutions[tag]
        elif pending and cell.cell_type == "code":
            if keep_stubs:
                cells += [v4.new_code_cell(pending), v4.new_code_cell(cell.source)]
            pending = ""
    solved.cells = cells
    return solved
