"""The engine: runs the points of a grid one after the other, each in its own process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from mvqlab.grid.points import Point, build_points, choose
from mvqlab.grid.process import exit_in_words, start_point, stop, terminate_like_interrupt
from mvqlab.grid.spec import Grid, read_grid
from mvqlab.grid.status import (
    EXECUTED_FILE,
    LOG_FILE,
    STOPPED,
    Status,
    now,
    read_status,
    state_of,
    write_status,
)
from mvqlab.grid.watch import LiveLine, duration, read_progress

BUSY = 75  # exit code of run-one where another process runs the point (EX_TEMPFAIL)
STOPPED_CODE = 130  # exit code after Ctrl-C
GLANCE = 0.25  # seconds between two looks at a running point


def run_grid(
    path: str | Path, *, only: Sequence[int] = (), fresh: bool = False, stream: TextIO | None = None
) -> int:
    """Run the points of the grid file at `path` that are not done: all, or the indices in `only`.

    `fresh` runs done ones again and discards what they left. Returns an exit code: 0 if all are done, 1
    if one failed, 130 if stopped by Ctrl-C or SIGTERM. Raises GridError before anything runs.
    """
    grid = read_grid(path)
    points = choose(build_points(grid), only)
    run = _GridRun(grid, points, LiveLine(stream or sys.stdout), fresh)
    with terminate_like_interrupt():
        return run.run()


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _GridRun:
    """One pass over a grid's points."""

    def __init__(self, grid: Grid, points: Sequence[Point], line: LiveLine, fresh: bool) -> None:
        self.grid, self.points, self.line, self.fresh = grid, points, line, fresh
        self.failed: list[tuple[Point, str]] = []
        self.seconds: list[float] = []

    def run(self) -> int:
        done = [point for point in self.points if state_of(self._folder(point)) == "done"]
        self.seconds = [status.seconds or 0.0 for point in done if (status := self._status(point))]
        self.line.say(f"{self.grid.path.name}: {self.grid.content.purpose}")
        self.line.say(f"{len(self.points)} points, {len(done)} done already, results in {self.grid.results}")
        for place, point in enumerate(self.points, start=1):
            announced = f"[{place}/{len(self.points)}] {point.label}"
            if point in done and not self.fresh:
                self.line.say(f"{announced}: done already")
                continue
            self.line.say(announced + self._expectation())
            try:
                self._run(point)
            except KeyboardInterrupt:
                return self._stopped(point)
        return self._summary()

    def _run(self, point: Point) -> None:
        """Run one point to whatever end, and say which."""
        folder = self._folder(point)
        began, started = time.monotonic(), now()
        process = start_point(self.grid.path, point, folder / LOG_FILE, fresh=self.fresh)
        why = self._watch(process, folder, began)
        elapsed = time.monotonic() - began
        if process.returncode == BUSY:
            self.line.say("    another process is running it: left to that one")
            return
        if not why and not self._has_ended(process, folder):
            # it could not say how it ended: it was killed, refused to start, or died before its first word
            why = f"{exit_in_words(process.returncode)}: {last_line(folder / LOG_FILE)}".rstrip(": ")
        if why and state_of(folder) != "running":
            write_status(folder, Status("failed", why, started, round(elapsed, 2), process.returncode))
        self._report(point, elapsed, why)

    def _watch(self, process: subprocess.Popen[bytes], folder: Path, began: float) -> str:
        """Wait for `process`; returns why it was stopped, or nothing. Stops it on KeyboardInterrupt."""
        limit = self.grid.content.time_limit
        try:
            while True:
                try:
                    process.wait(GLANCE)
                    return ""
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - began
                self.line.update(read_progress(folder), elapsed)
                if limit and elapsed > limit:
                    stop(process)
                    return f"time limit: stopped after {duration(limit)}"
        except KeyboardInterrupt:
            stop(process)
            if state_of(folder) == "interrupted":
                status = read_status(folder) or Status("failed")
                write_status(folder, replace(status, state="failed", why=STOPPED, exit_code=STOPPED_CODE))
            raise

    def _has_ended(self, process: subprocess.Popen[bytes], folder: Path) -> bool:
        status = read_status(folder)
        expected = {0: "done", 1: "failed"}.get(process.returncode)
        return status is not None and status.state == expected

    def _report(self, point: Point, elapsed: float, why: str) -> None:
        folder = self._folder(point)
        status = read_status(folder) or Status("failed")
        if status.state == "done" and not why:
            self.seconds.append(elapsed)
            self.line.say(f"    done in {duration(elapsed)}")
            return
        self.failed.append((point, why or status.why))
        self.line.say(f"    FAILED after {duration(elapsed)}: {why or status.why}")
        self.line.say(f"    see {folder / EXECUTED_FILE} and {LOG_FILE} beside it")

    def _expectation(self) -> str:
        if self.seconds:
            return f": about {duration(statistics.median(self.seconds))}, as the points before it"
        limit = self.grid.content.time_limit
        return f": at most {duration(limit)}" if limit else ""

    def _stopped(self, point: Point) -> int:
        left = [other for other in self.points if state_of(self._folder(other)) != "done"]
        self.line.say(
            f"stopped: '{point.label}' was cut short and will start anew; "
            f"{len(self.points) - len(left)} of {len(self.points)} points are done and kept.\n"
            f"Go on with: mvqlab grid run {self.grid.path}"
        )
        return STOPPED_CODE

    def _summary(self) -> int:
        n_done = sum(state_of(self._folder(point)) == "done" for point in self.points)
        self.line.say(f"{n_done} of {len(self.points)} points done, {len(self.failed)} failed")
        for point, why in self.failed:
            self.line.say(f"  {point.index}  {point.label}: {why}")
        self.line.say(f"Look at them with: mvqlab grid table {self.grid.path}")
        return 1 if self.failed else 0

    def _folder(self, point: Point) -> Path:
        return point.folder(self.grid.results)

    def _status(self, point: Point) -> Status | None:
        return read_status(self._folder(point))
