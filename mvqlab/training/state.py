"""The state that a training goes on from, and the one before it in case the newest is damaged."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from mvqlab.config import Config, config_from_dict
from mvqlab.models.ranks import from_every_rank
from mvqlab.support.files import whole_file
from mvqlab.support.saved_tensors import ProgramFileError, load_tensors
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.run_settings import settings_before
from mvqlab.training.weights import not_finite


class DamagedStateWarning(UserWarning):
    """The newest training state cannot be read or is not finite, so the one before it is used."""


def settings_of_state(state: dict[str, Any], folder: Path) -> Config | None:
    """The settings under which `state` was saved: its own, or what an older one has beside it in `folder`."""
    return config_from_dict(state["settings"]) if "settings" in state else settings_before(folder)


@contextmanager
def taken_from(path: Path) -> Iterator[None]:
    """While a run takes over the training state at `path`: say what is wrong with one that does not fit.

    Raises CheckpointError.
    """
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{path} lacks {error}: it is damaged or of another version: restore it, or train afresh"
        ) from None
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is of another model than the settings describe ({' '.join(str(error).split())[:300]}): "
            "restore the right one, or train afresh"
        ) from None


def random_state() -> dict[str, Any]:
    """The state of torch's generators in the first process and, as "others", in those that train with it.

    All processes of a training must call this together.
    """
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    first, *others = from_every_rank({"cpu": torch.get_rng_state(), "cuda": devices})
    return {**first, "others": others} if others else first


def set_random_state(state: dict[str, Any], rank: int = 0) -> None:
    """Put torch's generators back to what process number `rank` had in `state`.

    They stay as they are in a process of which it knows nothing: fewer were there when it was written, or an
    older version wrote it.
    """
    if rank > 0:
        others = state.get("others", [])
        if rank > len(others):
            return
        state = others[rank - 1]
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def save_state(state: dict[str, Any], path: Path, *, keeps_previous: bool = True) -> None:
    """Write a training state, nested dicts and lists of tensors and numbers.

    The one there is kept beside it, if it is of the same run (`keeps_previous`), else removed. Whoever calls
    this has seen to it that all is finite (`check_finite_tensors`): nothing else can be gone on from.
    """
    with whole_file(path) as temporary:
        torch.save(state, temporary)
        if path.exists() and keeps_previous:
            os.replace(path, _previous(path))
    if not keeps_previous:
        _previous(path).unlink(missing_ok=True)


def has_state(folder: Path | str) -> bool:
    """Whether the run in `folder` was saved, so that `resume` has something to go on from."""
    path = Path(folder) / "state.pt"
    return path.exists() or _previous(path).exists()


def remove_state(folder: Path) -> None:
    """Remove what the run in `folder` would go on from, if there is a run."""
    path = folder / "state.pt"
    for state in (path, _previous(path)):
        state.unlink(missing_ok=True)


def load_state(path: Path, stage: int, last_step: int) -> dict[str, Any]:
    """Read a training state; where it is damaged or not finite the one before, with a DamagedStateWarning.

    Raises CheckpointError if there is none, none that can be read, if it is of the other `stage`, or beyond
    the run's `last_step`.
    """
    state = _newest_state(path)
    if state.get("stage") != stage:
        raise CheckpointError(f"{path} is no training state of stage {stage}: name another folder")
    if state["step"] > last_step:
        raise CheckpointError(
            f"the run in {path.parent} has gone {state['step']} steps, more than the {last_step} asked for: "
            f"set stage{stage}.steps to {state['step']} or more, or train afresh"
        )
    return state


def _newest_state(path: Path) -> dict[str, Any]:
    previous = _previous(path)
    if not path.exists() and not previous.exists():
        raise CheckpointError(f"nothing to resume: there is no training state at {path}")
    newest = path if path.exists() else previous
    try:
        return _read_state(newest)
    except CheckpointError as error:
        if newest == previous or not previous.exists():
            raise
        # out of the way, or the next save would put it in the place of the good one
        damaged = path.with_name(f"{path.stem}.damaged{path.suffix}")
        with suppress(FileNotFoundError):  # where another process of this training was quicker
            path.rename(damaged)
        words = f"{error}; it is now {damaged.name}, and the run goes on from {previous}"
        warnings.warn(words, DamagedStateWarning, stacklevel=2)
        return _read_state(previous)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = load_tensors(path)
    except ProgramFileError as error:
        raise CheckpointError(f"this is no training state: {error}") from None
    except Exception as error:
        # a truncated file surfaces as one of half a dozen exception types, none of which names it
        raise CheckpointError(
            f"{path} is no training state, or a damaged one ({type(error).__name__}): restore it, or train "
            "afresh"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise CheckpointError(f"{path} is no training state of this lab: restore it, or train afresh")
    if names := not_finite(state):
        raise CheckpointError(
            f"{path} holds NaN or infinities in {len(names)} of its tensors, {names[0]} among them: the "
            "training diverged before it was saved, so train afresh, at a lower learning_rate"
        )
    return state
