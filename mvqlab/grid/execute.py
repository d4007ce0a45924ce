"""One point, run by papermill in this process: what `mvqlab grid run-one` does.

It can be called by hand, by `mvqlab grid run`, or by a cluster's scheduler: it checks, locks, runs and
writes the point's status itself, and keeps the grid's time limit, so that the limit holds without an engine.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from mvqlab.grid.deadline import Deadline
from mvqlab.grid.notebook import OUTPUT, RESUME, STAGE1, read_notebook
from mvqlab.grid.points import Point
from mvqlab.grid.process import TimeIsUp
from mvqlab.grid.shared import folder_of_stage1
from mvqlab.grid.spec import Grid
from mvqlab.grid.status import (
    EXECUTED_FILE,
    LOCK_FILE,
    LOG_FILE,
    Status,
    WrittenState,
    hold_point,
    now,
    state_of,
    write_status,
)
from mvqlab.grid.watch import duration
from mvqlab.results import POINT_FILE, RESULT_FILE, read_json
from mvqlab.results.columns import printable
from mvqlab.support.faults import explained, is_out_of_memory
from mvqlab.support.files import write_text_whole
from mvqlab.support.plain import json_text


class PointError(RuntimeError):
    """A point's notebook came to no good end; the message is one line."""


class ThisPython(AsyncKernelManager):
    """Starts the kernel of the running interpreter, whatever kernels the machine knows as python3."""

    was_stopped = False  # whether the kernel was shut down from here, rather than dying by itself

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of `sys.executable`."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # ipykernel warns at every start that its messages to this process are not encrypted
        command.append("--IPKernelApp.log_level=ERROR")
        return KernelSpec(argv=command, display_name="mvqlab", language="python", name="python3")

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """As inherited, but for braces in the interpreter's own path, which stay as they are."""
        return [sys.executable, *super().format_kernel_cmd(extra_arguments)[1:]]

    async def shutdown_kernel(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """As inherited; leaves a note that it was called."""
        ThisPython.was_stopped = True
        await super().shutdown_kernel(*args, **kwargs)


def run_point(grid: Grid, point: Point, *, fresh: bool = False) -> bool:
    """Run `point` unless it is done (or `fresh`); returns whether it is done now.

    Writes point.json, status.json, executed.ipynb and whatever the notebook writes to the point's folder.
    Raises PointBusyError if another process is running it, KeyboardInterrupt if it was stopped.
    """
    folder = point.folder(grid.results)
    with hold_point(folder):
        if state_of(folder) == "done" and not fresh:
            print(f"{folder.name} is done already")
            return True
        try:
            _clear(folder, everything=fresh)
            _describe(grid, point, folder)
            return _run_held(grid, point, folder)
        except OSError as error:  # a full disk: said here, since a scheduler says nothing of it
            why = explained(error) or one_line(str(error))
            print(f"failed: {printable(why)}", file=sys.stderr)
            with suppress(OSError):
                write_status(folder, Status("failed", why, now(), None, 1))
            return False


def _run_held(grid: Grid, point: Point, folder: Path) -> bool:
    began, started = time.monotonic(), now()
    limit = grid.content.time_limit

    def finish(state: WrittenState, why: str, exit_code: int) -> None:
        write_status(folder, Status(state, why, started, round(time.monotonic() - began, 2), exit_code))

    def fail(why: str) -> bool:
        print(f"failed: {printable(why)}", file=sys.stderr)
        finish("failed", why, 1)
        return False

    deadline = Deadline(limit, lambda: fail(f"time limit: killed after {duration(limit or 0)}"))
    write_status(folder, Status("running", started=started))
    try:
        with deadline:
            _execute(grid, point, folder)
    except TimeIsUp:
        finish("failed", "time limit: the scheduler's time was up", 130)
        raise
    except KeyboardInterrupt:
        if deadline.is_past:
            return fail(f"time limit: stopped after {duration(limit or 0)}")
        finish("stopped", "", 130)
        raise
    except PointError as error:
        if deadline.is_past:
            return fail(f"time limit: stopped after {duration(limit or 0)}")
        return fail(str(error))
    finish("done", "", 0)
    return True


def _execute(grid: Grid, point: Point, folder: Path) -> None:
    """Run the notebook into `folder`. Raises PointError unless it ran to its end and wrote its result."""
    ThisPython.was_stopped = False
    ours = {OUTPUT: str(folder), RESUME: True, STAGE1: str(folder_of_stage1(point, grid.stage1_store) or "")}
    taken = read_notebook(grid.notebook).parameters
    try:
        papermill.execute_notebook(
            nbformat.read(grid.notebook, as_version=4),
            _taken_literally(folder / EXECUTED_FILE),
            parameters={**point.parameters, **{name: ours[name] for name in ours if name in taken}},
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            cwd=grid.notebook.parent,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        what = "out of memory: " if is_out_of_memory(error.ename, error.evalue) else ""
        raise PointError(one_line(f"{what}{error.ename}: {error.evalue}")) from None
    except DeadKernelError:
        # nbclient takes SIGINT and SIGTERM for itself and then finds its kernel gone
        if ThisPython.was_stopped:
            raise KeyboardInterrupt from None
        raise PointError("killed: the notebook's process died (out of memory?)") from None
    except OSError as error:  # of the executed notebook; what the notebook itself raises comes as papermill's
        where = f"{folder}: " if error.filename is None else ""
        raise PointError(
            where + (explained(error) or one_line(f"{type(error).__name__}: {error}"))
        ) from error
    except Exception as error:
        raise PointError(one_line(f"{type(error).__name__}: {error}")) from error
    if not read_json(folder / RESULT_FILE):
        raise PointError("the notebook ended without a result (mvqlab.results.write_result is its last act)")


def _taken_literally(path: Path) -> str:
    """`path` with its braces doubled: papermill formats an output's path with the notebook's parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def one_line(message: str) -> str:
    """`message` without colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())


def _clear(folder: Path, *, everything: bool) -> None:
    """Remove what an earlier attempt said about itself, or all it left; lock and log stay."""
    names = {POINT_FILE, RESULT_FILE, EXECUTED_FILE}
    for path in folder.iterdir():
        is_progress = path.name == "progress.json"
        if path.name in {LOCK_FILE, LOG_FILE} or not (everything or is_progress or path.name in names):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _describe(grid: Grid, point: Point, folder: Path) -> None:
    description = {
        "id": point.id,
        "index": point.index,
        "label": point.label,
        "variant": point.variant,
        "grid": grid.path.name,
        "purpose": grid.content.purpose,
        "notebook": grid.notebook.name,
        "settings": point.settings,
    }
    write_text_whole(folder / POINT_FILE, json_text(description, indent=1))
