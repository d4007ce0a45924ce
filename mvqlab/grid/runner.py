"""The engine: runs the points of a grid, each in its own process, as many at a time as there are workers."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from mvqlab.grid.elsewhere import not_done_in
from mvqlab.grid.needs import check_needs
from mvqlab.grid.points import Point, build_points, choose, folders_of
from mvqlab.grid.process import (
    Slot,
    exit_in_words,
    share_out,
    start_point,
    stop,
    terminate_like_interrupt,
)
from mvqlab.grid.shared import discard_stage1, is_in_training, is_trained
from mvqlab.grid.spec import Grid, GridError, read_grid
from mvqlab.grid.status import (
    EXECUTED_FILE,
    LOG_FILE,
    Status,
    look,
    now,
    read_status,
    state_of,
    write_status,
)
from mvqlab.grid.watch import Board, Pace, duration, in_words, read_progress
from mvqlab.support.faults import explained

CHANGED = 78  # exit code of run-one where the grid has no such point any more (EX_CONFIG)
BUSY = 75  # exit code of run-one where another process runs the point (EX_TEMPFAIL)
LATE = 60.0  # seconds past its time limit after which a point that keeps it by itself is stopped from here
STOPPED_CODE = 130  # exit code after Ctrl-C
MOST_WORKERS = 1024  # more processes than any machine runs well
GLANCE = 0.1  # seconds between two looks at the running points


def run_grid(
    path: str | Path,
    *,
    only: Sequence[int] = (),
    fresh: bool = False,
    retry_failed: bool = False,
    done_in: Sequence[Path] = (),
    workers: int = 1,
    stream: TextIO | None = None,
) -> int:
    """Run the points of the grid file at `path` that are not done: all, or the indices in `only`.

    Points that failed before run again if they are named in `only`, or with `retry_failed`; `fresh` runs
    done ones again, too, and discards what they left, but a stage 1 that others share. What a table of
    `done_in` has, which another machine has run, does not run here. `workers` points run at a time, sharing
    threads and GPUs. Returns an exit code: 0 if all those points are done, 1 if one of them failed, 75 if
    none failed but another process is still running one, 130 if stopped by Ctrl-C or SIGTERM.

    Raises GridError before anything runs.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise GridError(f"--workers must be at least 1 and at most {MOST_WORKERS}, not {workers}")
    grid = read_grid(path)
    everyone, board = build_points(grid), Board(stream or sys.stdout)
    points = not_done_in(done_in, choose(everyone, only), board.say)
    again = retry_failed or fresh or bool(only)
    run = _GridRun(grid, points, board, fresh, again, share_out(workers))
    check_needs(grid, run.queue)
    with terminate_like_interrupt():
        if fresh:
            discard_stage1(points, everyone, grid, board.say)
        return run.run()


def last_line(log: Path) -> str:
    """The last line of a log that says anything; nothing where it cannot be read."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _disk_in_words(folder: Path) -> str:
    """That the disk is full, of a point that could not even say so."""
    try:
        return "the disk is full" if shutil.disk_usage(folder).free == 0 else ""
    except OSError:
        return ""


@dataclass
class _Running:
    """A point whose process is running in a worker's slot."""

    point: Point
    folder: Path
    slot: Slot
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=now)
    pace: Pace = field(default_factory=Pace)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began


class _GridRun:
    """One pass over a grid's points."""

    def __init__(
        self,
        grid: Grid,
        points: Sequence[Point],
        board: Board,
        fresh: bool,
        again: bool,
        slots: Sequence[Slot],
    ) -> None:
        self.grid, self.points, self.board = grid, points, board
        self.places = {point.id: place for place, point in enumerate(points, 1)}
        self.folders = dict(zip(self.places, folders_of(points, grid.results), strict=True))
        self.fresh, self.again = fresh, again
        self.free = list(slots)
        self.n_workers = len(slots)
        self.found = [look(self._folder(point)) for point in points]
        left_alone = {"done"} if not fresh else set()
        left_alone |= {"failed"} if not again else set()
        self.queue = deque(
            point for point, (state, _) in zip(points, self.found, strict=True) if state not in left_alone
        )
        self.running: list[_Running] = []
        self.has_changed = False  # whether the grid is another one by now
        self.unsaid: dict[str, str] = {}  # why points failed whose folders do not take a status, by identity
        self.seconds = [
            status.seconds
            for state, status in self.found
            if state == "done" and status and status.seconds is not None and not fresh
        ]

    def run(self) -> int:
        self._announce()
        try:
            while self.queue or self.running:
                while self.free and (point := self._next()) is not None:
                    self._start(point, self.free.pop(0))
                self._look()
        except KeyboardInterrupt:
            return self._stopped()
        except (
            BaseException
        ):  # nobody reads our words any more, or their disk is full: no point runs unwatched
            stop(*(one.process for one in self.running))
            raise
        return self._summary()

    def _announce(self) -> None:
        """Say what will be done."""
        self.board.say(f"{self.grid.path.name}: {self.grid.content.purpose}")
        n_done = 0 if self.fresh else sum(state == "done" for state, _ in self.found)
        self.board.say(f"{len(self.points)} points, {n_done} done already, results in {self.grid.results}")
        for point, (state, status) in zip(self.points, self.found, strict=True):
            if state == "done" and not self.fresh:
                self.board.say(f"{self._name(point)}: done already")
            elif state == "failed" and not self.again:
                why = status.why if status else ""
                self.board.say(f"{self._name(point)}: failed before ({why}); --retry-failed runs it again")

    def _next(self) -> Point | None:
        """Take a point from the queue: the first that need not wait for a stage 1 that is being trained.

        Where each would wait, none if that is trained here: who waits in a process of its own holds memory.
        What another grid or machine trains is waited for there nevertheless.
        """
        if not self.queue:
            return None
        store = self.grid.stage1_store
        here = {one.point.stage1 for one in self.running if not is_trained(one.point, store)} - {""}
        rest = [point for point in self.queue if point.stage1 not in here]
        if not rest:
            return None
        point = next((point for point in rest if not is_in_training(point, store)), rest[0])
        self.queue.remove(point)
        return point

    def _start(self, point: Point, slot: Slot) -> None:
        folder = self._folder(point)
        self.board.say(self._name(point) + self._expectation())
        try:
            process = start_point(self.grid.path, point, folder / LOG_FILE, slot, fresh=self.fresh)
        except OSError as error:  # a full disk, a log that is a folder: this point's trouble, not the grid's
            self.free.append(slot)
            why = explained(error) or str(error)
            self._note_failure(point, Status("failed", why, now()))
            self.board.say(f"{self._name(point)}: FAILED: {why}")
            return
        self.running.append(_Running(point, folder, slot, process))

    def _note_failure(self, point: Point, status: Status) -> None:
        """Write down that `point` failed; where its folder does not take it, keep it in mind."""
        try:
            write_status(self._folder(point), status)
        except OSError:
            self.unsaid[point.id] = status.why

    def _look(self) -> None:
        """Take up the points that have ended or run too long, then wait a moment."""
        limit = self.grid.content.time_limit
        for one in list(self.running):
            why = ""
            if one.process.poll() is None:
                if not limit or one.elapsed <= limit + LATE:
                    continue
                stop(one.process)
                why = f"time limit: stopped after {duration(limit)}"
            self.running.remove(one)
            self.free.append(one.slot)
            self._end(one, why)
        self._show()
        if self.running:
            time.sleep(GLANCE)

    def _end(self, one: _Running, why: str) -> None:
        """Say how a point ended. `why` it was stopped; empty if it ended by itself."""
        folder, elapsed, code = one.folder, one.elapsed, one.process.returncode
        if code == BUSY:
            self.board.say(f"{self._name(one.point)}: another process is running it: left to that one")
            return
        if code == CHANGED:
            self.queue.clear()  # what runs goes on; what has not begun waits for the next start
            self.has_changed = True
            self.board.say(f"{self._name(one.point)}: not run: {last_line(folder / LOG_FILE)}")
            return
        if not why and not self._has_ended(one):
            # it could not say how it ended: it was killed, refused to start, or died before its first word
            how = exit_in_words(code)
            why = f"{how}: {last_line(folder / LOG_FILE) or _disk_in_words(folder)}".rstrip(": ")
        if why and state_of(folder) != "running":
            self._note_failure(one.point, Status("failed", why, one.started, round(elapsed, 2), code))
        status = read_status(folder) or Status("failed")
        if status.state == "done" and not why:
            self.seconds.append(elapsed)
            self.board.say(f"{self._name(one.point)}: done in {duration(elapsed)}")
            return
        self.board.say(f"{self._name(one.point)}: FAILED after {duration(elapsed)}: {why or status.why}")
        self.board.say(f"    see {folder / EXECUTED_FILE} and {LOG_FILE} beside it")

    def _has_ended(self, one: _Running) -> bool:
        status = read_status(one.folder)
        expected = {0: "done", 1: "failed"}.get(one.process.returncode)
        return status is not None and status.state == expected

    def _show(self) -> None:
        lines = []
        for one in self.running:
            progress = read_progress(one.folder)
            left = one.pace.seconds_left(progress, time.monotonic())
            soon = f", {duration(left)} left in this stage" if left is not None else ""
            words = f"{self._name(one.point)}  {in_words(progress)}  ({duration(one.elapsed)}{soon})"
            self.board.note(one.point.id, str(progress.get("stage", "")), words)
            lines.append(words)
        if lines:
            self.board.show([*lines, self._whole()])

    def _whole(self) -> str:
        """The grid in one line."""
        n_left = len(self.queue) + len(self.running)
        words = f"{len(self.points) - n_left} of {len(self.points)} points finished, {n_left} to go"
        if self.free and self.queue:
            words += f" ({len(self.queue)} wait for a stage 1 that is being trained)"
        if self.seconds:
            spent = sum(min(one.elapsed, self._usual()) for one in self.running)
            words += f", about {duration((n_left * self._usual() - spent) / self.n_workers)}"
        return words

    def _usual(self) -> float:
        return statistics.median(self.seconds)

    def _expectation(self) -> str:
        if self.seconds:
            return f": about {duration(self._usual())}, as the points before it"
        limit = self.grid.content.time_limit
        return f": at most {duration(limit)}" if limit else ""

    def _stopped(self) -> int:
        """Stop what runs; what each point had saved of its training stays, and the next run goes on there."""
        stop(*(one.process for one in self.running))
        for one in self.running:
            if state_of(one.folder) == "interrupted":
                status = read_status(one.folder) or Status("stopped")
                with suppress(OSError):
                    write_status(one.folder, replace(status, state="stopped", exit_code=STOPPED_CODE))
        n_done = sum(state_of(self._folder(point)) == "done" for point in self.points)
        cut_short = ", ".join(f"'{one.point.label}'" for one in self.running)
        self.board.say(
            f"stopped: {cut_short or 'nothing'} was cut short; "
            f"{n_done} of {len(self.points)} points are done and kept.\n"
            f"Go on with: mvqlab grid run {self.grid.path}"
        )
        return STOPPED_CODE

    def _summary(self) -> int:
        found = [(point, *look(self._folder(point))) for point in self.points]
        why_failed = {point.id: status.why for point, state, status in found if state == "failed" and status}
        why_failed |= self.unsaid
        n_done = sum(state == "done" and point.id not in why_failed for point, state, _ in found)
        left = [(point, state) for point, state, _ in found if state != "done" and point.id not in why_failed]
        self.board.say(f"{n_done} of {len(self.points)} points done, {len(why_failed)} failed")
        for point, _, _ in found:
            if point.id in why_failed:
                self.board.say(f"  {point.index}  {point.label}: {why_failed[point.id]}")
        if self.has_changed:
            self.board.say(
                f"  {len(left)} not done: the grid file, its notebook, a preset or mvqlab has changed "
                f"meanwhile. Go on with: mvqlab grid run {self.grid.path}"
            )
        elif left:
            names = ", ".join(f"{point.index} ({state})" for point, state in left[:10])
            self.board.say(
                f"  {len(left)} not done, left to another process: {names}{', ...' * (len(left) > 10)}; "
                f"see mvqlab grid status {self.grid.path}"
            )
        self.board.say(f"Look at them with: mvqlab grid table {self.grid.path}")
        if why_failed or self.has_changed:
            return 1
        return BUSY if left else 0

    def _name(self, point: Point) -> str:
        return f"[{self.places[point.id]}/{len(self.points)}] {point.label}"

    def _folder(self, point: Point) -> Path:
        return self.folders[point.id]
