"""Rows of results that are on disk as soon as they are known, and the page of a card that sums them up."""

from __future__ import annotations

import csv
import gc
import json
import os
import platform
import re
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from mvqlab.results import environment
from mvqlab.support.files import whole_file, write_text_whole
from mvqlab.support.plain import json_text

Outcome = Literal["ok", "failed", "skipped"]
PACKAGES = ("triton", "torchvision", "transformers", "lightning", "lightning-fabric")
SUMMARY_LINES = 20
LEAST = 3.0  # seconds: with less left, a part is not begun


class NoGpuError(RuntimeError):
    """What only a GPU can show is asked of a machine without one."""


class DeviceError(ValueError):
    """What was named is no device that this can run on. The message says which are."""


class ReportError(ValueError):
    """The rows that are kept beside new ones cannot be read. The message says what to do."""


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. value: a number in `unit`, or none. seconds: what finding it out took."""

    name: str
    outcome: Outcome
    value: float | None = None
    unit: str = ""
    seconds: float = 0.0
    note: str = ""
    trace: str = ""

    def __str__(self) -> str:
        value = "" if self.value is None else f"{self.value:.4g} {self.unit}".rstrip()
        return " | ".join(part for part in (f"{self.outcome:<7} {self.name}", value, self.note) if part)


class Report:
    """The rows of one stage, in `folder`/<stage>.json and .csv, and its section in `folder`/<card>.md.

    keeps_others: rows of an earlier process for the same stage and card stay, but for those found anew; then
    it raises ReportError where what holds them is damaged.
    """

    def __init__(
        self,
        folder: Path | str,
        stage: str,
        device: torch.device,
        *,
        keeps_others: bool = False,
    ) -> None:
        self.folder, self.stage = Path(folder), stage
        self.facts = card_facts(device)
        self.earlier = self._read_earlier() if keeps_others else []
        self.page = self.folder / f"{self.facts['slug']}.md"
        self.rows: list[Row] = []
        self._began = self._last = time.perf_counter()

    def add(
        self,
        name: str,
        outcome: Outcome = "ok",
        value: float | None = None,
        unit: str = "",
        *,
        seconds: float | None = None,
        note: str = "",
        trace: str = "",
    ) -> Row:
        """Add a row, print it, and write all rows so far. seconds: by default those since the last row."""
        now = time.perf_counter()
        seconds, self._last = now - self._last if seconds is None else seconds, now
        row = Row(
            name, outcome, None if value is None else float(value), unit, round(seconds, 3), note, trace
        )
        self.rows.append(row)
        print(f"[{now - self._began:5.0f} s] {row}", flush=True)
        self._write()
        return row

    def failed(self, name: str, error: BaseException) -> Row:
        """A row for what raised `error`, with its traceback."""
        lines = "".join(traceback.format_exception(error)).strip()
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return self.add(name, "failed", note=what, trace=lines)

    def summary(self) -> list[str]:
        """At most twenty lines: how many rows came out how, what failed, then the rows with a value."""
        outcomes = [row.outcome for row in self.rows]
        counted = ", ".join(f"{outcomes.count(one)} {one}" for one in ("ok", "failed", "skipped"))
        took = time.perf_counter() - self._began
        head = f"gpu {self.stage} on {self.facts['card']}: {counted}, {took:.0f} s"
        order = ("failed", "ok", "skipped")
        rows = [str(row) for one in order for row in self.rows if row.outcome == one]
        if len(rows) > SUMMARY_LINES - 2:
            n_left = len(rows) - (SUMMARY_LINES - 2)
            rows = [*rows[: SUMMARY_LINES - 2], f"and {n_left} more rows in {self.folder / self.stage}.csv"]
        return [head, *rows]

    def finish(self) -> int:
        """Print the summary; returns an exit code, 1 if a row failed."""
        print("\n".join(self.summary()), flush=True)
        print(f"written: {self.page}", flush=True)
        return int(any(row.outcome == "failed" for row in self.rows))

    def section(self) -> str:
        """The stage's section of the card's page, in Markdown."""
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items() if name != "slug")
        table = ["| what | outcome | value | note |", "| --- | --- | --- | --- |"]
        lines = [f"## {self.stage}", "", facts + ".", "", *table]
        for row in self.all_rows():
            value = "" if row.value is None else f"{row.value:.4g} {row.unit}".rstrip()
            cells = (row.name, row.outcome, value, row.note)
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        return "\n".join(lines)

    def all_rows(self) -> list[Row]:
        """Those of earlier processes, then those of this one; of a name the newest that was not skipped."""
        done = {row.name for row in self.rows if row.outcome != "skipped"}
        earlier = [row for row in self.earlier if row.name not in done]
        kept = {row.name for row in earlier}
        return earlier + [row for row in self.rows if row.name not in kept]

    def _read_earlier(self) -> list[Row]:
        """The rows on disk; where other versions found them, their notes say so."""
        path = self.folder / f"{self.stage}.json"
        if not path.exists():
            return []
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            facts, rows = dict(record["facts"]), [Row(**row) for row in record["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ReportError(
                f"{path} is damaged ({type(error).__name__}: {error}), and rows in it are to stay: mend it, "
                "or move it away"
            ) from None
        if facts.get("slug") != self.facts["slug"]:
            return []
        others = [f"{name} {value}" for name, value in facts.items() if value != self.facts.get(name)]
        if not others:
            return rows
        found_by = f"found with {', '.join(others)}"
        return [
            row
            if "found with" in row.note
            else replace(row, note="; ".join(filter(None, (row.note, found_by))))
            for row in rows
        ]

    def _write(self) -> None:
        rows = [asdict(row) for row in self.all_rows()]
        record = {"stage": self.stage, "facts": self.facts, "rows": rows}
        write_text_whole(self.folder / f"{self.stage}.json", json_text(record, indent=1))
        with (
            whole_file(self.folder / f"{self.stage}.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(
                file, [name for name in rows[0] if name != "trace"], extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(rows)
        write_section(self.page, self.facts["card"], self.stage, self.section())


@dataclass(frozen=True)
class TimedPart:
    """One part of a stage: what it is called, the seconds that it may take, and what adds its rows."""

    name: str
    seconds: float
    run: Callable[[Report], object]


def run_parts(report: Report, parts: Sequence[TimedPart], seconds: float) -> None:
    """Run `parts` one after the other within `seconds` in all; none keeps the next from running.

    What a part raises becomes a row with its traceback; what takes longer than it may is stopped.
    """
    end = time.perf_counter() + seconds
    for part in parts:
        left = min(part.seconds, end - time.perf_counter())
        if left < LEAST:
            report.add(part.name, "skipped", note="no time left")
            continue
        try:
            with stopped_after(left):
                part.run(report)
        except OutOfTimeError as error:
            report.add(part.name, "skipped", note=str(error), trace=traceback.format_exc())
        except Exception as error:
            report.failed(part.name, error)
        release_memory()


class OutOfTimeError(BaseException):
    """A part took longer than it may. No `Exception`, so that nothing on the way takes it for a fault."""


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block after `seconds`, where the system has alarms for this thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def release_memory() -> None:
    """Give back what the last part held on the card."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def card_facts(device: torch.device) -> dict[str, Any]:
    """The card, its driver, versions of what runs on it, the commit; `slug` is the card's file name."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"
    facts: dict[str, Any] = {
        "card": card,
        "slug": re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-"),
        # a copy of the files alone, as a lent machine gets it, does not know its commit
        "commit": os.environ.get("MVQLAB_COMMIT") or environment().get("git_commit"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "driver": _driver(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    return facts


def device_for(name: str | None = None) -> torch.device:
    """The device of that name; by default the GPU. Raises NoGpuError where that is not there, DeviceError."""
    device = _named(name or "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "is built without CUDA" if torch.version.cuda is None else "finds none"
        raise NoGpuError(
            f"there is no GPU here (torch {torch.__version__} {why}): run this on a machine with one; "
            "--device cpu tries out that it runs"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NoGpuError(
            f"there is no {device}: this machine's GPUs go up to {torch.cuda.device_count() - 1}"
        )
    return device


def _named(name: str) -> torch.device:
    with suppress(RuntimeError):  # torch would list two dozen kinds
        device = torch.device(name)
        if device.type in ("cuda", "cpu"):
            return device
    raise DeviceError(f"--device takes cuda, one of several as cuda:1, or cpu, not '{name}'")


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return told.splitlines()[0].strip() if told.strip() else None


def write_section(page: Path, card: str, stage: str, section: str) -> None:
    """Put `section` between its stage's markers on the card's `page`; other stages' sections stay."""
    begin, end = f"<!-- {stage}: begin -->", f"<!-- {stage}: end -->"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {card}\n"
    marked = f"{begin}\n{section}\n{end}"
    if begin in text and end in text:
        before, after = text.partition(begin)[0], text.partition(end)[2]
        text = before + marked + after
    else:
        text = f"{text.rstrip()}\n\n{marked}\n"
    write_text_whole(page, text)
