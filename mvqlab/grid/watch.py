"""What a person sees of a running point: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TextIO

from mvqlab.progress import PROGRESS_FILE
from mvqlab.results import read_json


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


class LiveLine:
    """A line that is written over in a terminal; elsewhere, one line whenever the stage changes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_terminal = stream, stream.isatty()
        self._stage = ""

    def say(self, text: str) -> None:
        """Write a line that stays."""
        print(f"{self._wiped()}{text}", file=self.stream, flush=True)

    def update(self, progress: dict[str, Any], elapsed: float) -> None:
        """Show how far a point is, `elapsed` seconds after its start."""
        text = f"    {in_words(progress)}  ({duration(elapsed)})"
        if self.is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"{self._wiped()}{text[:width]}")
            self.stream.flush()
        elif progress and progress.get("stage", "") != self._stage:
            self._stage = progress.get("stage", "")
            self.say(text)

    def _wiped(self) -> str:
        return "\r\x1b[2K" if self.is_terminal else ""


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
