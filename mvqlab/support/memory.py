"""How much memory this process has needed."""

from __future__ import annotations

import sys


def peak_process_memory() -> int | None:
    """The most bytes that this process has held; None on Windows, which does not tell."""
    try:
        import resource  # Windows has none
    except ModuleNotFoundError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
