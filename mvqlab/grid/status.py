"""What a point's folder says about it: state, lock, files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mvqlab.results import RESULT_FILE, STATUS_FILE, read_json
from mvqlab.support.files import write_text_whole
from mvqlab.support.locks import HeldError, held, is_held
from mvqlab.support.plain import json_text

EXECUTED_FILE = "executed.ipynb"
LOG_FILE = "log.txt"
LOCK_FILE = "lock"

WrittenState = Literal["running", "done", "failed", "stopped"]
State = WrittenState | Literal["waiting", "interrupted"]


class PointBusyError(RuntimeError):
    """Another process is running this point."""


@dataclass(frozen=True)
class Status:
    """How a point's last attempt went. `started` is UTC, `why` one line, `exit_code` the process's."""

    state: WrittenState
    why: str = ""
    started: str = ""
    seconds: float | None = None
    exit_code: int | None = None


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


def write_status(folder: Path, status: Status) -> None:
    """Write `status` to the point's folder, whole."""
    write_text_whole(folder / STATUS_FILE, json_text(asdict(status), indent=1))


def read_status(folder: Path) -> Status | None:
    """The status in the point's folder, or None where there is none that can be read."""
    with suppress(TypeError):
        status = Status(**read_json(folder / STATUS_FILE))
        return status if _is_whole(status) else None
    return None


def _is_whole(status: Status) -> bool:
    """Whether a status that was read holds what it should."""
    known = status.state in ("running", "done", "failed", "stopped")
    return known and isinstance(status.why, str) and isinstance(status.seconds, int | float | None)


def state_of(folder: Path) -> State:
    """The point's state now: see `look`."""
    return look(folder)[0]


def look(folder: Path) -> tuple[State, Status | None]:
    """The point's state now, and what its status.json says: each file is read once.

    ``done`` needs a result that can be read. ``stopped`` was stopped on request. ``interrupted`` is a point
    that says it is running while no process holds its lock: it was killed together with its grid.
    """
    status = read_status(folder)
    if status is None:
        return "waiting", None
    if status.state == "running":
        return "running" if is_held(folder / LOCK_FILE) else "interrupted", status
    if status.state == "done" and not isinstance(read_json(folder / RESULT_FILE).get("metrics"), dict):
        return "interrupted", status
    return status.state, status


@contextmanager
def hold_point(folder: Path, patience: float = 0.5) -> Iterator[None]:
    """Hold the lock on the point in `folder`; the system lets go of it if the process dies.

    Raises PointBusyError if another process holds it for longer than `patience` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder / LOCK_FILE, f"another process is running {folder.name}", patience):
            yield
    except HeldError as error:
        raise PointBusyError(str(error)) from None
