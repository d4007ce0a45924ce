"""Runs the checker of one copy, keeps its limits, and takes its verdicts."""

from __future__ import annotations

import queue
import secrets
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from mvqlab.course.grading.remote import TO_START
from mvqlab.course.grading.wire import WireError, put_away, receive, send
from mvqlab.support.process_groups import descendants, kill_all, own_group

BETWEEN_LOOKS = 0.2  # seconds
NOT_HANDED_OUT = ("solutions", "book", ".ipynb_checkpoints", "LECTURER.md")
VERDICTS = {"right", "not right yet", "not done yet"}


@dataclass(frozen=True)
class Limits:
    """What a copy may use: `seconds` for a cell, `memory` bytes for all its processes together."""

    seconds: float
    memory: int
    is_over: threading.Event = field(default_factory=threading.Event)  # set: whatever runs is killed


def run_checks(
    cells: list[dict[str, object]], folder: Path, handed_in: Path, limits: Limits
) -> tuple[dict[str, str], str]:
    """Judge the answers in `cells`: verdicts by exercise, and what cut it short, or "".

    Both sides run in copies of `folder`, without solutions and without `handed_in`, others' answers.
    """
    secret = secrets.token_hex(16)
    with TemporaryDirectory(prefix="mvqlab-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary) / "notebooks"
        shutil.copytree(folder, place, ignore=partial(_left_out, handed_in.resolve()))
        checker = subprocess.Popen(
            [sys.executable, "-m", "mvqlab.course.grading.checker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=place,
            **own_group(),
        )
        watch = _Watch(checker, limits)
        try:
            job = {"secret": secret, "seconds": limits.seconds, "memory": 2 * limits.memory, "cells": cells}
            with suppress(OSError):
                send(checker.stdin, job)  # type: ignore[arg-type]
            return watch.verdicts(secret)
        finally:
            watch.kill()


def _left_out(handed_in: Path, folder: str, names: list[str]) -> list[str]:
    """What of `folder` students do not get: solutions, others' answers, what is no ordinary file."""
    paths = [Path(folder) / name for name in names]
    return [
        path.name
        for path in paths
        if path.name in NOT_HANDED_OUT or path.resolve() == handed_in or not (path.is_file() or path.is_dir())
    ]


class _Watch:
    def __init__(self, checker: subprocess.Popen[bytes], limits: Limits) -> None:
        self.checker, self.limits = checker, limits
        self.seen: dict[int, psutil.Process] = {}  # all that the copy started, orphans too
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def verdicts(self, secret: str) -> tuple[dict[str, str], str]:
        """Verdicts by exercise until the checker is done or a limit is met."""
        found: dict[str, str] = {}
        note, heard = "", time.monotonic()
        while True:
            try:
                message = self.messages.get(timeout=BETWEEN_LOOKS)
            except queue.Empty:
                if why := self._is_past_limits(heard):
                    return found, why
                continue
            if message is None:
                return found, note or "the process that checks it was ended"
            if message.get("secret") != secret:
                continue  # written by somebody else
            heard = time.monotonic()
            if message.get("verdict") in VERDICTS:
                found[str(message["exercise"])] = message["verdict"]
            note = message.get("note", note)
            if message.get("end"):
                return found, note

    def kill(self) -> None:
        """Kill the checker and all that was seen to descend from it, twice: what is killed may be forking."""
        for _ in range(2):
            self._look()
            kill_all([process for process in self.seen.values() if process.is_running()])
            time.sleep(0.02)
        self._look()
        self.checker.kill()
        kill_all([process for process in self.seen.values() if process.is_running()])
        put_away(self.checker, self.reader)

    def _is_past_limits(self, heard: float) -> str:
        self._look()
        if self.limits.is_over.is_set():
            return "stopped"
        used = 0
        for process in self.seen.values():
            with suppress(psutil.Error):
                used += process.memory_info().rss
        if used > self.limits.memory:
            return f"it used more than {self.limits.memory / 2**30:g} GiB of memory"
        if time.monotonic() - heard > 2 * self.limits.seconds + 2 * TO_START:
            return f"a cell ran longer than {self.limits.seconds:g} s"
        return ""

    def _look(self) -> None:
        for root in [self.checker.pid, *self.seen]:
            for process in descendants(root):
                self.seen.setdefault(process.pid, process)

    def _read(self) -> None:
        while True:
            try:
                message = receive(self.checker.stdout)  # type: ignore[arg-type]
            except (WireError, OSError, ValueError):
                message = None  # somebody else wrote to the pipe: nothing after that can be read
            self.messages.put(message)
            if message is None:
                return
