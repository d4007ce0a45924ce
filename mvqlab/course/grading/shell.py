"""A process that runs the cells of a notebook and talks to its parent over the pipes it was started with."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import BinaryIO

from IPython.core.interactiveshell import InteractiveShell


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for messages; what is printed from now on goes nowhere."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    return requests, replies


def new_shell() -> InteractiveShell:
    """The shell of a notebook, without history, start-up files or figures on a screen."""
    os.environ["MPLBACKEND"] = "agg"
    shell = InteractiveShell.instance()
    if shell.history_manager is not None:
        shell.history_manager.enabled = False
        with suppress(Exception):
            shell.history_manager.end_session()
    return shell


def run_cell(shell: InteractiveShell, source: str) -> str:
    """Run a cell as a notebook does; what it raised in one line, or nothing."""
    result = shell.run_cell(source, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    return "" if error is None else f"{type(error).__name__}: {error}"[:500]
