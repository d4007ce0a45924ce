"""Files of the authors' training script: their tensors by name, and nothing of them ever run."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from mvqlab.support.saved_tensors import ProgramFileError, is_legacy, load_tensors, saved_file

Tensors = Mapping[str, Tensor]
Checkpoint = str | Path | Mapping[str, Any]

LEGACY = "(in the legacy format, of before PyTorch 1.6)"


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
    with _faults_of(path):
        content = load_file(path) if path.suffix == ".safetensors" else load_tensors(path)
    return _mapping(content, path)


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """Turn whatever reading `path` raises into one OfficialCheckpointError that names it."""
    if not path.is_file():
        raise OfficialCheckpointError(f"there is no checkpoint at {path}")
    try:
        yield
    except ProgramFileError as error:
        raise OfficialCheckpointError(str(error)) from None
    except pickle.UnpicklingError:
        raise OfficialCheckpointError(_refusal(path)) from None
    except Exception as error:
        # a damaged file surfaces as one of half a dozen exception types, none of which names it
        legacy = f" {LEGACY}" if is_legacy(path) else ""
        raise OfficialCheckpointError(
            f"{path}{legacy} cannot be read ({type(error).__name__}: {error})"
        ) from None


def _mapping(content: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise OfficialCheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content


def _refusal(path: Path) -> str:
    if is_legacy(path):
        return (
            f"{path} {LEGACY} holds more than tensors, or is damaged: it is not read, and objects are "
            "stripped from files of today's format only. If you trust whoever wrote it, save it anew: "
            "torch.save(torch.load(FILE, weights_only=False)['state_dict'], FILE)"
        )
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
    if path.suffix == ".safetensors" or (path.is_file() and is_legacy(path)):
        # the one holds tensors only; of the other, torch's own reader would write files that objects ask for
        return read_state_dict(path)
    reader = SimpleNamespace(Unpickler=_TensorsOnly, __name__="tensors only")
    with _faults_of(path), saved_file(path) as file:
        content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=reader)
    return read_state_dict(_mapping(content, path))


class _Inert(dict):
    """Stands for an object of any class: can be made, filled and called, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def ignore(self, *args: Any, **kwargs: Any) -> None:
        """Whatever is asked for."""

    __setstate__ = append = extend = add = __call__ = ignore
    __hash__ = object.__hash__  # type: ignore[assignment]  # that of a dict is None


class _Called:
    """One of torch's functions, which a file may call, and whose attributes it cannot set."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        """What a pickle would set, passed over."""


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
        if not is_dtype and (module, name) not in self.needed:
            return _Inert
        found = super().find_class(module, name)
        return _Called(found) if isinstance(found, FunctionType) else found
