"""A time limit that a process keeps by itself, whatever became of who started it, on every system."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType

from mvqlab.grid.process import GRACE
from mvqlab.support.process_groups import descendants, kill_all


class Deadline:
    """Interrupt the main thread, as Ctrl-C would, when a `with` block has taken `seconds` (None: no limit).

    A block that has still not ended `grace` seconds later does not listen: `last_words` are called, and this
    process is killed with all that it started. `is_past` says whether the limit was reached.
    """

    def __init__(self, seconds: float | None, last_words: Callable[[], object], grace: float = GRACE) -> None:
        self.seconds, self.grace, self.last_words = seconds, grace, last_words
        self.is_past = False
        self._has_ended, self._turn = threading.Event(), threading.Lock()

    def __enter__(self) -> Deadline:
        if self.seconds is not None:
            threading.Thread(target=self._watch, args=(self.seconds,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            with self._turn:  # what follows a block that has ended is not interrupted
                self._has_ended.set()
        finally:  # the limit may strike here, too
            self._has_ended.set()

    def _watch(self, seconds: float) -> None:
        if self._has_ended.wait(seconds):
            return
        with self._turn:
            if self._has_ended.is_set():
                return
            self.is_past = True
            _interrupt_main_thread()
        if self._has_ended.wait(self.grace):
            return
        family = descendants(os.getpid())
        try:
            self.last_words()
        finally:
            kill_all(family)
            os._exit(1)


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # a signal wakes a thread that sleeps or waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
