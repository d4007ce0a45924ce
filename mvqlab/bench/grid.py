"""What a point of a grid costs beside its notebook's own work: process, kernel, papermill, bookkeeping."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import nbformat
import torch
import yaml

from mvqlab.bench.timing import Case
from mvqlab.grid.runner import run_grid


def grid_cases(device: torch.device) -> list[Case]:
    """A grid of one point whose notebook only writes its result."""
    folder = tempfile.TemporaryDirectory(prefix="mvqlab-bench-")
    path = _write_grid(Path(folder.name))

    def run() -> None:
        if run_grid(path, fresh=True, stream=io.StringIO()) != 0:
            raise RuntimeError(f"the empty point failed: see {folder.name}")

    work = "a point of a grid, its notebook's own work aside"
    return [Case(work, "run and recorded", "run and recorded", run)]


def _write_grid(folder: Path) -> Path:
    parameters = nbformat.v4.new_code_cell('output: str = ""  # folder of the point')
    parameters.metadata["tags"] = ["parameters"]
    work = nbformat.v4.new_code_cell(
        'from mvqlab.results import write_result\n\nwrite_result(output, {"value": 1})'
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, work]), folder / "empty.ipynb")
    path = folder / "empty.yaml"
    content = {"purpose": "what a point costs", "notebook": "empty.ipynb", "points": [{"label": "empty"}]}
    path.write_text(yaml.safe_dump(content))
    return path
