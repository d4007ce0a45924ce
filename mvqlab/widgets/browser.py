"""A Chromium of this machine, driven without a screen, and servers whose pages it opens."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvqlab.support.process_groups import interrupt_group, kill_group, own_group

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # which needs rights that containers do not have
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 120  # seconds for a server to start: the machine may be busy


class NoBrowserError(RuntimeError):
    """There is no Chromium on this machine, or nothing to drive it. The message says how to get it."""


@contextmanager
def open_browser() -> Iterator[Any]:
    """A Chromium, as Playwright drives it. Raises NoBrowserError."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError("no playwright: pip install 'mvqlab[browser]'") from None
    path = next((found for found in map(shutil.which, NAMES) if found), None)
    if path is None:
        raise NoBrowserError("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve(command: list[str], folder: Path, has_token: bool = True) -> Iterator[str]:
    """Run a server, ``python -m`` the command, in `folder`; gives the address, token and all, that it prints.

    has_token: whether that address has to hold a token.

    It is stopped as by Ctrl-C. Raises RuntimeError with its last words where it does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **own_group(),
        env={**os.environ, "OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"},
        preexec_fn=_hear_interrupts if os.name == "posix" else None,
    )
    assert process.stdout is not None  # it was asked for
    lines: list[str] = []
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield _address(process, lines, has_token)
    finally:
        interrupt_group(process)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            kill_group(process)
            process.wait()
        reader.join(10)
        process.stdout.close()


def _hear_interrupts() -> None:
    """In the child: a shell's background jobs ignore Ctrl-C, and what they start would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _address(process: subprocess.Popen[str], lines: list[str], has_token: bool) -> str:
    pattern = r"http://127\.0\.0\.1:\d+" + (r"\S*token=\w+" if has_token else r"/\S*")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for line in list(lines):
            found = re.search(pattern, line)
            if found:
                return found.group(0)
        time.sleep(0.1)
    raise RuntimeError("the server did not start:\n" + "".join(lines))
