"""How many threads the environment grants."""

from __future__ import annotations

import os

THREADS_VARIABLE = "OMP_NUM_THREADS"


def threads_named() -> int | None:
    """The threads of OMP_NUM_THREADS, of the outermost level where it lists several (``2,1``).

    None where it is not set or names no number above 0, which OpenMP passes over, too.
    """
    first = os.environ.get(THREADS_VARIABLE, "").partition(",")[0].strip()
    return (int(first) if first.isascii() and first.isdecimal() else 0) or None
