"""A model's weights as a file of safetensors, which holds finite numbers or is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mvqlab.support.files import whole_file
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.packed_weights import packed, unpacked

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
