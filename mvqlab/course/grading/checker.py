"""The process that judges one copy: the lecturer's cells, the lecturer's checks, no code of students.

Reads one job, sends a message for each cell that it begins and one for each verdict. Every message carries
the job's secret: a student's code that finds the pipe and writes to it does not know it.
"""

from __future__ import annotations

import ast
import ctypes
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from mvqlab.course import exercises
from mvqlab.course.grading.remote import Student, StudentGone
from mvqlab.course.grading.shell import new_shell, run_cell, take_pipes
from mvqlab.course.grading.wire import receive, send

SET_DUMPABLE, SET_CHILD_SUBREAPER = 4, 36  # of Linux's prctl


def main() -> None:
    """Judge the copy that standard input tells of."""
    keep_to_itself()
    requests, replies = take_pipes()
    job = receive(requests)
    if job is not None:
        judge(job, replies)


def keep_to_itself() -> None:
    """Hide memory and files from others of the account, and adopt orphans (both on Linux alone)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        with suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            system = ctypes.CDLL(None)
            system.prctl(SET_DUMPABLE, 0, 0, 0, 0)
            system.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def judge(job: dict[str, Any], replies: BinaryIO) -> None:
    """Run both sides, cell by cell. `job`: secret, seconds, memory, and cells of source, answer and names."""

    def tell(**what: Any) -> None:
        send(replies, {"secret": job["secret"], **what})

    shell = new_shell()
    student = Student(job["seconds"], job["memory"])
    told: set[str] = set()
    last_answer = max(number for number, cell in enumerate(job["cells"]) if cell["answer"] is not None)
    try:
        for number, cell in enumerate(job["cells"]):
            tell(cell=number)
            if cell["answer"] is not None:
                student.run(cell["answer"])
                student.bind(cell["names"], shell.user_ns)
                continue
            # both sides run at once, except where the check wants the student's functions as they are here
            is_check = "exercise(" in cell["source"]
            if not is_check and number < last_answer:
                student.run(cell["source"])
            run_cell(shell, cell["source"])
            for name, verdict in exercises.VERDICTS.items():
                if name not in told:
                    tell(exercise=name, verdict=verdict)
                    told.add(name)
            if student.gone:
                raise StudentGone(student.gone)
            if is_check and number < last_answer:
                student.run(cell["source"])
    except StudentGone as gone:
        tell(note=str(gone))
    finally:
        with suppress(Exception):
            student.close()
    tell(end=True)


def names_bound(source: str) -> list[str]:
    """The names that a cell binds at its top level: variables, functions and classes."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return names


if __name__ == "__main__":
    main()
