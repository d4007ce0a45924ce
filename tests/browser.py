"""A headless Chromium for tests; without one the tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from mvqlab.widgets import browser
from mvqlab.widgets.browser import serve

__all__ = ["open_browser", "serve"]


@contextmanager
def open_browser() -> Iterator[Any]:
    """A Chromium of this machine. Skips the test where there is none, or nothing to drive it."""
    with ExitStack() as stack:
        try:
            chromium = stack.enter_context(browser.open_browser())
        except browser.NoBrowserError as error:
            pytest.skip(str(error))
        yield chromium
