"""A point's process: its own group, its environment, and how it is stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from mvqlab.grid.points import Point
from mvqlab.progress import QUIET_VARIABLE

GRACE = 10.0  # seconds between the request to stop and the kill


def start_point(grid_file: Path, point: Point, log: Path, *, fresh: bool = False) -> subprocess.Popen[bytes]:
    """Start ``mvqlab grid run-one`` for `point`, in a process group of its own, its words going to `log`."""
    command = [sys.executable, "-m", "mvqlab.cli", "grid", "run-one", str(grid_file)]
    command += ["--index", str(point.index), "--expect", point.id]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as words:
        return subprocess.Popen(
            command + ["--fresh"] * fresh,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=point_environment(),
            start_new_session=True,
        )


def point_environment() -> dict[str, str]:
    """This process's environment, with a number of CPU threads (unless it is set) and no progress bars."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    return {**os.environ, "OMP_NUM_THREADS": threads, QUIET_VARIABLE: "1", "PYTHONUNBUFFERED": "1"}


def stop(process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """Ask `process` to stop as Ctrl-C would, wait `grace` seconds, then kill it with all it started.

    A second Ctrl-C while it waits kills at once.
    """
    family = _descendants(process.pid)
    _signal_group(process, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.wait(grace)
    _signal_group(process, signal.SIGKILL)
    # the kernel leads a group of its own, out of reach of the signals above
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def exit_in_words(returncode: int) -> str:
    """``exit code 3``, or ``killed by SIGKILL``."""
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that `kill` stops a grid as cleanly as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
