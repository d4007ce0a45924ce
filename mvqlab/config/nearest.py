"""The known name that is nearest to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def advice_for(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the known name nearest to `name`, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        leaves = {key.rsplit(".", 1)[-1]: key for key in known}
        match = difflib.get_close_matches(name.rsplit(".", 1)[-1], leaves, n=1, cutoff=0.6)
        close = [leaves[match[0]]] if match else []
    return f"did you mean '{close[0]}'?" if close else ""
