"""The solutions of a notebook's exercises, put where the stubs stand.

They lie in `notebooks/solutions/`, one file a notebook, in cells headed `# %% exercise-N` like the tag of the
stub that they replace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode

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


def solve(notebook: NotebookNode, solutions: Mapping[str, str]) -> NotebookNode:
    """`notebook` with its exercises' stubs replaced by `solutions`, by tag.

    Raises ValueError, naming the tags, unless solutions and exercises are the same.
    """
    strange = sorted(set(exercise_tags(notebook)) ^ set(solutions))
    if strange:
        raise ValueError(f"only the notebook or only its solutions hold {', '.join(strange)}")
    solved = deepcopy(notebook)
    for cell in solved.cells:
        for tag in cell.metadata.get("tags", []):
            cell.source = solutions.get(tag, cell.source)
    return solved
