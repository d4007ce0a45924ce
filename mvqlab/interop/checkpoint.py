"""Files of the authors' training script: their tensors by name, and nothing of them ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor

Tensors = Mapping[str, Tensor]
Checkpoint = str | Path | Mapping[str, Any]


class OfficialCheckpointError(ValueError):
    """A file is no checkpoint of the authors' code, or holds what this lab cannot read. Names what."""


def read_state_dict(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the authors' names, whether or not a `state_dict` key holds them.

    Files are read with `weights_only`. Raises OfficialCheckpointError where one is missing, cut short,
    or holds objects that this refuses: it then names them.
    """
    content = checkpoint if isinstance(checkpoint, Mapping) else _read_file(Path(checkpoint))
    inside = content.get("state_dict", content)
    if not isinstance(inside, Mapping) or not all(isinstance(name, str) for name in inside):
        raise OfficialCheckpointError("the checkpoint's `state_dict` does not map names to tensors")
    tensors = {name: value for name, value in inside.items() if isinstance(value, Tensor)}
    if not tensors:
        raise OfficialCheckpointError("the checkpoint holds no tensors under `state_dict` or by itself")
    return tensors


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise OfficialCheckpointError(f"there is no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise OfficialCheckpointError(_refusal(path)) from None
    except Exception as error:
        # a damaged file surfaces as one of half a dozen exception types, none of which names it
        raise OfficialCheckpointError(f"{path} cannot be read ({type(error).__name__}: {error})") from None
    if not isinstance(content, Mapping):
        raise OfficialCheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content


def _refusal(path: Path) -> str:
    refused = refused_objects(path)
    if not refused:
        return f"{path} is no file of weights, or a damaged one"
    return (
        f"{path} holds objects beside its tensors that could run code and are not read: "
        f"{', '.join(refused)}. `mvqlab import-official {path} OUT --strip` (or strip_checkpoint) "
        "puts inert stand-ins in their places, so that none of their code runs"
    )


def refused_objects(path: Path) -> list[str]:
    """Names of the classes and functions in the file at `path` that `weights_only` refuses."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        # it raises one of many things on a file that is no checkpoint, which then has no such objects
        return []


def strip_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that holds other objects as well, such as old Lightning's callbacks.

    An inert stand-in takes the place of every class and function that is not needed to rebuild a tensor:
    it takes any arguments and runs nothing. Raises OfficialCheckpointError.
    """
    path = Path(path)
    reader = SimpleNamespace(Unpickler=_TensorsOnly, load=_TensorsOnly.load, __name__="tensors only")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except Exception as error:
        raise OfficialCheckpointError(f"{path} cannot be read ({type(error).__name__}: {error})") from None
    if not isinstance(content, Mapping):
        raise OfficialCheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return read_state_dict(content)


class _Inert(dict):
    """Stands for an object of any class: can be made, filled and called, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def ignore(self, *args: Any, **kwargs: Any) -> None:
        """Whatever is asked for."""

    __setstate__ = append = extend = add = __call__ = ignore
    __hash__ = object.__hash__


class _TensorsOnly(pickle.Unpickler):
    """Unpickles what tensors are made of; everything else becomes `_Inert`."""

    needed: ClassVar = {
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.nn.parameter", "Parameter"),
    }

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in self.needed:
            return super().find_class(module, name)
        return _Inert
