"""A point's process: its own group, its environment, and how it is stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mvqlab.grid.points import Point
from mvqlab.support.process_groups import (
    descendants,
    interrupt_group,
    kill_all,
    kill_group,
    own_group,
)
from mvqlab.support.progress import QUIET_VARIABLE
from mvqlab.support.threads import THREADS_VARIABLE, threads_named

GRACE = 10.0  # seconds between the request to stop and the kill


@dataclass(frozen=True)
class Slot:
    """What a worker may use: CPU threads, and the GPU that its points see (None: all there are)."""

    threads: int
    gpu: str | None = None


def share_out(n_workers: int) -> list[Slot]:
    """This machine's threads and GPUs, shared out among workers. OMP_NUM_THREADS, if set, is each one's."""
    threads = threads_named() or max(1, n_processors() // n_workers)
    gpus = visible_gpus() if n_workers > 1 else []
    return [Slot(threads, gpus[number % len(gpus)] if gpus else None) for number in range(n_workers)]


def n_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs of CUDA_VISIBLE_DEVICES or, where that is not set, all that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.split()


def start_point(
    grid_file: Path, point: Point, log: Path, slot: Slot, *, fresh: bool = False
) -> subprocess.Popen[bytes]:
    """Start ``mvqlab grid run-one`` for `point`, in a process group of its own, its words going to `log`."""
    command = [sys.executable, "-m", "mvqlab", "grid", "run-one", str(grid_file)]
    command += ["--index", str(point.index), "--expect", point.id]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as words:
        return subprocess.Popen(
            command + ["--fresh"] * fresh,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=point_environment(slot),
            **own_group(),
        )


def point_environment(slot: Slot) -> dict[str, str]:
    """This process's environment with what `slot` grants, and no progress bars."""
    ours = {THREADS_VARIABLE: str(slot.threads), QUIET_VARIABLE: "1", "PYTHONUNBUFFERED": "1"}
    if slot.gpu is not None:
        ours["CUDA_VISIBLE_DEVICES"] = slot.gpu
    return {**os.environ, **ours}


def stop(*processes: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """Ask `processes` to stop as Ctrl-C would, wait `grace` seconds, then kill them with all they started.

    A second Ctrl-C while it waits kills at once.
    """
    families = [member for process in processes for member in descendants(process.pid)]
    for process in processes:
        interrupt_group(process)
    deadline = time.monotonic() + grace
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        kill_group(process)
    kill_all(families)  # kernels lead groups of their own, out of reach of the signals above
    for process in processes:
        process.wait()


def exit_in_words(returncode: int) -> str:
    """``exit code 3``, or ``killed by SIGKILL``."""
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


class TimeIsUp(KeyboardInterrupt):
    """A scheduler said, by SIGUSR2, that the time it granted is nearly over."""


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that `kill` stops a grid as cleanly as Ctrl-C does.

    So does SIGBREAK, by which `stop` asks processes on Windows. SIGUSR2, by which schedulers warn that the
    time of a job is nearly over, raises TimeIsUp.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeIsUp if number == getattr(signal, "SIGUSR2", None) else KeyboardInterrupt

    there = [name for name in ("SIGTERM", "SIGBREAK", "SIGUSR2") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in there]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
