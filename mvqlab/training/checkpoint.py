"""What a run leaves on disk: settings, weights (safetensors) and the state to go on from.

    folder/config.yaml           the settings, complete
    folder/weights.safetensors   the model's weights
    folder/state.pt              the training state, plain containers only
    folder/state.previous.pt     the one before it, in case the newest is damaged
    folder/trained_on.json       what it was trained on, see `training.origin`
    folder/curves.csv            the curves

Nothing that could run code is ever loaded: weights are safetensors, and the state is read with
`weights_only=True`. Files are written whole or not at all.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mvqlab.config import (
    Config,
    ConfigError,
    config_from_dict,
    load_config,
    save_config,
    stage1_settings,
)
from mvqlab.config.own_arms import GIVE_ITS_FILE, unknown_names
from mvqlab.config.recipes import OWN
from mvqlab.config.yaml_files import read_yaml
from mvqlab.models.ranks import from_every_rank
from mvqlab.support.files import whole_file
from mvqlab.support.locks import LOCK, held
from mvqlab.support.saved_tensors import ProgramFileError, load_tensors
from mvqlab.training.packed_weights import packed, unpacked


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another model. The message names the file."""


class DamagedStateWarning(UserWarning):
    """The newest training state cannot be read or is not finite, so the one before it is used."""


WEIGHTS = "weights.safetensors"
UNSET = "threshold"  # of masks with budgets: NaN until its first training step


def not_finite(holder: Any, name: str = "") -> list[str]:
    """Names of the tensors in `holder`, nested dicts and lists, that hold NaN or infinities."""
    if isinstance(holder, Tensor):
        is_fine = not holder.is_floating_point() or bool(holder.isfinite().all())
        is_unset = name.rpartition(".")[2] == UNSET and bool(holder.isnan().all())
        return [] if is_fine or is_unset else [name]
    inside = holder.items() if isinstance(holder, dict) else enumerate(holder) if _is_list(holder) else ()
    return [found for key, value in inside for found in not_finite(value, f"{name}.{key}".lstrip("."))]


def _is_list(holder: Any) -> bool:
    return isinstance(holder, list | tuple)


def check_finite_tensors(holder: Any, what: str) -> None:
    """Raise FloatingPointError if a tensor in `holder` (see `not_finite`), which is `what`, is not finite."""
    if names := not_finite(holder):
        raise FloatingPointError(
            f"{what}: {len(names)} of its tensors hold NaN or infinities, {names[0]} among them, so it is "
            "not written; what was saved before is as it was. Try a lower learning_rate, a gradient_clip, or "
            "precision 32-true"
        )


def check_finite_model(model: nn.Module, what: str) -> None:
    """Raise CheckpointError if a weight of `model`, which is `what`, is NaN or infinite."""
    if names := not_finite(model.state_dict()):
        raise CheckpointError(
            f"{what} holds NaN or infinities in {len(names)} of its tensors, {names[0]} among them: its "
            "training diverged, so train it again, at a lower learning_rate"
        )


def save_weights(model: nn.Module, path: Path, *, in_8_bits: bool = False, **notes: Any) -> None:
    """Write the weights of `model` to `path`, with `notes` in the file's header; see `packed_weights`.

    Raises FloatingPointError, and writes nothing, if one is NaN or infinite.
    """
    check_finite_tensors(model.state_dict(), f"the model for {path}")
    write_weights(model, path, in_8_bits=in_8_bits, **notes)


def write_weights(model: nn.Module, path: Path, *, in_8_bits: bool = False, **notes: Any) -> None:
    """As `save_weights`, of a model that is known to be finite."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    tensors = packed(tensors) if in_8_bits else tensors
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={key: json.dumps(value) for key, value in notes.items()})


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from `path`.

    Raises CheckpointError if the file is missing, damaged or not finite, or does not fit.
    """
    if not path.exists():
        raise CheckpointError(f"no weights at {path}: train that model first, or name another folder")
    try:
        tensors = unpacked(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): train again, or restore the file") from None
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds another model than the settings beside it: {error}") from None
    check_finite_model(model, str(path))


def tensor_shape(path: Path, name: str) -> list[int]:
    """The shape of the tensor `name` in the weights at `path`. Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_slice(name).get_shape()
    except FileNotFoundError:
        raise CheckpointError(
            f"no weights at {path}: train that model first, or name another folder"
        ) from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or of another model ({error})") from None


def save_settings(config: Config, folder: Path) -> None:
    """Write `config` into the folder of a run."""
    with whole_file(folder / "config.yaml") as path:
        save_config(config, path)


def load_settings(folder: Path) -> Config:
    """The settings of the run in `folder`.

    Raises CheckpointError if there are none, or if they name an arm of somebody's own that is not here.
    """
    path = Path(folder) / "config.yaml"
    if not path.exists():
        raise CheckpointError(f"{folder} holds no run: there is no config.yaml in it")
    try:
        return load_config(path)
    except ConfigError:
        if unknown := unknown_names(read_yaml(path, "file of settings")):
            words = [f"{name}{_file_of_arm(Path(folder), name)}" for name in unknown]
            raise CheckpointError(
                f"the run in {folder} has {' and '.join(words)}, which mvqlab does not know: {GIVE_ITS_FILE}"
            ) from None
        raise


def _file_of_arm(folder: Path, name: str) -> str:
    """Words for the file from which the run in `folder` had the arm `name`; none if it does not say."""
    try:
        file = json.loads((folder / "trained_on.json").read_text(encoding="utf-8"))["arms"][name]["file"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" (from {file})"


def settings_before(folder: Path) -> Config | None:
    """The settings with which the run in `folder` was last saved; None if it has lost them."""
    return load_settings(folder) if (folder / "config.yaml").exists() else None


FREE = {"preset", "evaluation", "sampling", "workers", "cache_tokens", "root", "captions", "skip_bad"}
FREE |= {"uncaptioned_share", "recipe"}  # what a recipe fills in is compared setting by setting
FREE |= {"log_every", "validate_every", "checkpoint_every", "tensorboard", "compile", "steps", "precision"}


def check_same_run(config: Config, folder: Path, stage: str, settings: Config | None) -> None:
    """Check that the run of `stage` ("stage1", "stage2") in `folder`, under `settings` so far, can go on.

    Settings that change neither the model nor what it has learned so far may differ. Raises
    CheckpointError, naming each that does and may not.
    """
    if settings is None:
        return
    if stage == "stage1":
        settings, config, free = stage1_settings(settings), stage1_settings(config), FREE
    else:
        free = FREE | {"stage1", "loss", "discriminator"}
    if changed := _changes(settings, config, free):
        raise CheckpointError(
            f"the run in {folder} was started with other settings; resume it with those, or train in "
            f"another folder:\n{changed}"
        )


def as_begun(config: Config, before: Config | None) -> Config:
    """`config` for a run that was begun with the settings `before`, which may now take more steps or fewer.

    Where its recipe has noise fade over half of them, it goes on to fade as when the run began.
    """
    if before is None or config.mask.recipe == OWN:
        return config
    mask = config.mask.model_copy(update={"exploration_steps": before.mask.exploration_steps})
    return config.model_copy(update={"mask": mask})


def check_same_training(config: Config, folder: Path) -> None:
    """Check that the stage 1 in `folder` was trained as `config` asks for it: see `stage1_settings`.

    Raises CheckpointError, naming each setting that differs and is not for later steps alone.
    """
    settings = settings_before(folder)
    if settings is None:
        return
    if changed := _changes(stage1_settings(settings), stage1_settings(config)):
        raise CheckpointError(f"{folder} holds another training of stage 1; name another folder:\n{changed}")


def _changes(before: Config, now: Config, free: Set[str] = frozenset()) -> str:
    """What differs in two settings, those of the names `free` aside: a line each, or nothing."""
    was, wanted = _flat(before, free), _flat(now, free)
    changed = [f"  {key}: was {was[key]}, now {wanted[key]}" for key in wanted if was[key] != wanted[key]]
    return "\n".join(changed)


def _flat(config: Config, free: Set[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, section in config.plain().items():
        if name in free:
            continue
        inside = section.items() if isinstance(section, dict) else [("", section)]
        flat |= {f"{name}.{key}".rstrip("."): value for key, value in inside if key not in free}
    return flat


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


def holds_weights_of(path: Path, model: nn.Module) -> bool:
    """Whether the file at `path` can be read and holds the weights of `model`, to the bit."""
    try:
        stored = load_file(path)
    except (SafetensorError, OSError):
        return False
    ours = model.state_dict()
    return stored.keys() == ours.keys() and all(
        torch.equal(stored[name], tensor.detach().cpu()) for name, tensor in ours.items()
    )


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
