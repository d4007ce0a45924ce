"""Small networks that judge: trained once, kept in the cache folder, read from there by later runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from mvqlab.support.files import cache_folder, whole_file, writable_folder
from mvqlab.support.finite import check_finite

Judge = TypeVar("Judge", bound=nn.Module)


class NetworkCacheWarning(UserWarning):
    """A cached network cannot be read and is trained again."""


class Trained(NamedTuple):
    """A trained network, and what its file is to say about it, such as its accuracy."""

    network: nn.Module
    about: dict[str, str]


def trained_once(
    name: str,
    empty: Callable[[], nn.Module],
    train: Callable[[], Trained],
    finish: Callable[[nn.Module, dict[str, str]], Judge],
    cache: Path | None = None,
) -> Judge:
    """What `finish` makes of the network called `name` and its facts: read from `cache`, or trained first.

    `name` must hold all that the network depends on. `empty` builds one of the same form, for weights to
    be read into. `cache` is $MVQLAB_CACHE by default, else ~/.cache/mvqlab; a file in it that cannot be
    read is replaced, with a NetworkCacheWarning. Processes that want the same network wait for the first.

    Raises OSError, before any training, if the folder cannot be written.
    """
    from filelock import FileLock

    path = writable_folder(cache or cache_folder(), "trained networks") / f"{name}.safetensors"
    with FileLock(f"{path}.lock"):
        cached = _read(path, empty, finish)
        if cached is not None:
            return cached
        trained = train()
        _write(path, trained)
    return finish(*trained)


def _read(path: Path, empty: nn.Module, finish: Callable[[nn.Module, dict[str, str]], Judge]) -> Judge | None:
    """What is in `path`; None if there is nothing, or nothing that can be read."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    with torch.device("meta"):  # draws no random numbers, of which others count on the next
        network = empty()
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for key, values in weights.items():
            check_finite(key, values)
        network.load_state_dict(weights, assign=True)
        return finish(network, about)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        warnings.warn(
            f"the cached network {path} cannot be read ({error}); it is trained again",
            NetworkCacheWarning,
            stacklevel=4,
        )
        return None


def _write(path: Path, trained: Trained) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    for name, values in tensors.items():
        check_finite(f"{name} of the network to be kept in {path}", values)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=trained.about)
