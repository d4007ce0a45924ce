"""Progress of long work: a bar in a terminal or notebook, and a small file that another process may read."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mvqlab.support.files import write_text_whole
from mvqlab.support.plain import json_text

PROGRESS_FILE = "progress.json"
QUIET_VARIABLE = "MVQLAB_QUIET"  # set where nobody watches: a notebook's stored bar is only noise


class Progress:
    """A bar over `total` steps that shows the values it is told, and mirrors them in `folder`.

    Used as a context manager. The file is refreshed at most twice a second.
    """

    def __init__(self, title: str, total: int, start: int = 0, folder: Path | None = None) -> None:
        from tqdm.auto import tqdm  # takes long: it looks for Jupyter

        self.title, self.total, self.step, self.folder = title, total, start, folder
        quiet = bool(os.environ.get(QUIET_VARIABLE))
        self._bar = tqdm(total=total, initial=start, desc=title, disable=quiet, mininterval=0.5)
        self._written = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._bar.close()

    def advance(self, **values: float) -> None:
        """One step further; `values` stand beside the bar until new ones come."""
        self.step += 1
        if values:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        self._bar.update()
        if time.monotonic() - self._written > 0.5:
            self._write(**values)

    def _write(self, **values: float) -> None:
        self._written = time.monotonic()
        if self.folder is None:
            return
        state: dict[str, Any] = {"stage": self.title, "step": self.step, "steps": self.total, **values}
        with suppress(OSError):  # nobody loses work because a disk was too full to say how far it is
            write_text_whole(self.folder / PROGRESS_FILE, json_text(state))
