"""What a run leaves on disk: settings, weights (safetensors) and the state to go on from.

    folder/config.yaml           the settings, complete: `training.run_settings`
    folder/weights.safetensors   the model's weights: `training.weights`
    folder/state.pt              the training state, plain containers only: `training.state`
    folder/state.previous.pt     the one before it, in case the newest is damaged
    folder/trained_on.json       what it was trained on, see `training.origin`
    folder/curves.csv            the curves

Nothing that could run code is ever loaded: weights are safetensors, and the state is read with
`weights_only=True`. Files are written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvqlab.support.locks import LOCK, held


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another model. The message names the file."""


WEIGHTS = "weights.safetensors"


@contextmanager
def hold_run(folder: Path, *, is_writer: bool = True) -> Iterator[None]:
    """Let nobody else train in `folder` meanwhile; a process that is killed lets go.

    Raises HeldError, with nothing touched, if another process is training there.
    """
    if not is_writer:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / LOCK, f"another process is training in {folder}"):
        yield
