"""After which training step weights were saved, from the file's header: nothing heavy is imported for it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open


def step_of(weights: Path) -> int | None:
    """The step after which the file `weights` was written; None where it is not there or does not say."""
    try:
        with safe_open(weights, framework="np") as file:
            return int(json.loads((file.metadata() or {})["step"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
