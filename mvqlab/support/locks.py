"""Locks between processes: who holds one, and whether anybody does, on every system."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"  # in the folder of a run that is being trained


class HeldError(RuntimeError):
    """Another process holds a lock; the message says which, where that is known."""


@contextmanager
def held(path: Path, what: str, patience: float = 0.5) -> Iterator[None]:
    """Hold the lock in the file at `path`, in a folder that is there; the system lets go of it if we die.

    Raises HeldError, which begins with `what` is being done elsewhere, if another process holds the lock for
    longer than `patience` seconds: not at once, since whoever asks `is_held` holds it for a moment.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience, poll_interval=0.05)
    except Timeout:
        raise HeldError(f"{what}{_holder(path)}") from None
    try:
        with suppress(OSError):  # Windows lets nobody write to a file that is locked
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at `path`; where it may not be asked for, it is taken for held."""
    try:
        if not path.exists():
            return False
        with FileLock(path, timeout=0):
            return False
    except (Timeout, PermissionError):
        return True
    except OSError:  # no lock at all: a folder, or something that cannot be opened
        return False


def _holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if words := path.read_text(encoding="utf-8"):
            return f" ({words})"
    return ""
