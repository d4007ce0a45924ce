"""What a person sees of running points: live lines in a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from mvqlab.results import read_json
from mvqlab.results.columns import printable
from mvqlab.support.progress import PROGRESS_FILE


def read_progress(folder: Path) -> dict[str, Any]:
    """The latest progress.json in a point's folder or one level below it; empty if there is none."""
    found = [*folder.glob(PROGRESS_FILE), *folder.glob(f"*/{PROGRESS_FILE}")]
    return read_json(max(found, key=_modified)) if found else {}


def in_words(progress: dict[str, Any]) -> str:
    """``stage 1  120/600  loss 0.1``."""
    words = [str(progress.get("stage", ""))]
    if "step" in progress:
        words.append(f"{progress['step']}/{progress.get('steps', '?')}")
    values = {name: value for name, value in progress.items() if name not in {"stage", "step", "steps"}}
    words += [f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float)]
    return "  ".join(words)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 05 s`` or ``2 h 04 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Pace:
    """How long a running point's stage will still take, by the steps it took since it was first seen."""

    def __init__(self) -> None:
        self._stage, self._step, self._since = "", 0, 0.0

    def seconds_left(self, progress: dict[str, Any], at: float) -> float | None:
        """Seconds from `at`, or None while that cannot be told."""
        stage, step, steps = (progress.get(name) for name in ("stage", "step", "steps"))
        if not isinstance(step, int) or not isinstance(steps, int):
            return None
        if stage != self._stage:
            self._stage, self._step, self._since = str(stage), step, at
        taken = step - self._step
        return (at - self._since) / taken * (steps - step) if taken > 0 else None


class Board:
    """The lines of running points, written over in a terminal; elsewhere a line whenever a stage changes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_terminal = stream, stream.isatty()
        self._n_lines = 0
        self._stages: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Write a line that stays."""
        print(f"{self._wiped()}{printable(text)}", file=self.stream, flush=True)

    def show(self, lines: Sequence[str]) -> None:
        """Write `lines` over the ones shown before; nothing where there is no terminal."""
        if not self.is_terminal:
            return
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(self._wiped() + "\n".join(printable(line)[:width] for line in lines))
        self.stream.flush()
        self._n_lines = len(lines)

    def note(self, point: str, stage: str, text: str) -> None:
        """Without a terminal: say `text` if `point` has come to another `stage`."""
        if not self.is_terminal and stage and stage != self._stages.get(point):
            self._stages[point] = stage
            self.say(text)

    def _wiped(self) -> str:
        if not self.is_terminal:
            return ""
        up = "\x1b[1A\x1b[2K" * (self._n_lines - 1)
        self._n_lines = 0
        return f"\r\x1b[2K{up}"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
