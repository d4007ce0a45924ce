"""What a point of a grid costs beside its notebook's own work, and what a second worker brings."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import nbformat
import torch
import yaml

from mvqlab.bench.timing import Case
from mvqlab.grid.runner import run_grid

BUSY = "import time, torch\n\nm = torch.rand(500, 500)\nend = time.process_time() + 10\n"
BUSY += "while time.process_time() < end:\n    m @ m\n\n"


def grid_cases(device: torch.device) -> list[Case]:
    """A point that only writes its result; two that each take ten seconds of one processor."""
    folder = Path(tempfile.mkdtemp(prefix="mvqlab-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    empty, busy = _write_grid(folder / "empty", "", 1), _write_grid(folder / "busy", BUSY, 2)
    work = "two points of ten seconds of one processor each"
    return [
        Case("a point of a grid, its notebook's own work aside", "run", "run", partial(_run, empty, 1)),
        Case(work, "one worker", "one worker", partial(_run, busy, 1)),
        Case(work, "two workers", "one worker", partial(_run, busy, 2)),
    ]


def _run(path: Path, workers: int) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        if run_grid(path, fresh=True, workers=workers, stream=io.StringIO()) != 0:
            raise RuntimeError(f"a point failed: see {path.parent}")
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _write_grid(folder: Path, work: str, n_points: int) -> Path:
    parameters = nbformat.v4.new_code_cell('output: str = ""  # folder of the point\nseed: int = 0')
    parameters.metadata["tags"] = ["parameters"]
    cell = nbformat.v4.new_code_cell(
        f'{work}from mvqlab.results import write_result\n\nwrite_result(output, {{"value": 1}})'
    )
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, cell]), folder / "work.ipynb")
    path = folder / "work.yaml"
    content = {"purpose": "what a point costs", "notebook": "work.ipynb", "seeds": list(range(n_points))}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
