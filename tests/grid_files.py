"""Helpers of the grid's tests: grid files over the toy notebook, and grids as processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tiny_runs import tiny_overrides

from mvqlab.grid.points import Point, build_points
from mvqlab.grid.spec import Grid, read_grid

NOTEBOOKS = Path(__file__).parent / "notebooks"
TOY = NOTEBOOKS / "toy.ipynb"
PATIENCE = 600.0  # seconds for what must happen, however busy the machine is; only what never does takes it


def write_grid(folder: Path, **entries: Any) -> Path:
    """Write a grid file over the toy notebook to `folder`."""
    path = folder / "toy_grid.yaml"
    content = {"purpose": "Does it run?", "notebook": str(TOY), **entries}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def tiny_base(*changes: str) -> dict[str, Any]:
    """The parameters that all points of a grid over the point notebook share: tiny, and of stage 1 alone."""
    return {
        "preset": "shapes32",
        "transformer": "none",
        "overrides": tiny_overrides(*changes),
    }


def read_points(folder: Path, **entries: Any) -> tuple[Grid, list[Point]]:
    """The grid and the points of such a file."""
    grid = read_grid(write_grid(folder, **entries))
    return grid, build_points(grid)


def start_grid(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """``mvqlab grid run`` as a process, its words in a pipe."""
    command = [sys.executable, "-m", "mvqlab", "grid", "run", str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_grid_process(path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and words of ``mvqlab grid run``."""
    process = start_grid(path, *arguments)
    words, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, words


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until `holds()`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def tell(folder: Path) -> None:
    """Let a toy point with `how` "until told" in `folder` go on."""
    (folder / "told").touch()


def attempts(folder: Path) -> list[int]:
    """Process ids of the kernels that ran the toy notebook for the point in `folder`."""
    path = folder / "attempts.txt"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []
