"""A process that leads a group of its own, and how it is interrupted and killed: on POSIX and on Windows."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

import psutil


def own_group() -> dict[str, Any]:
    """The arguments of `subprocess.Popen` by which a process leads a group, out of reach of our Ctrl-C."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def interrupt_group(process: subprocess.Popen[Any]) -> None:
    """Ask the group that `process` leads to stop, as Ctrl-C would. Nothing happens if it has ended."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill the group that `process` leads. Nothing happens if it has ended."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """All processes that `pid` started and those started, whichever group they are in."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill `processes`, those that are gone already excepted."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
