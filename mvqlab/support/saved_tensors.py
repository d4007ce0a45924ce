"""Files of `torch.save`, read so that nothing in them ever runs."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

ZIP_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x80"


class ProgramFileError(ValueError):
    """A file holds a program where weights are expected. The message names the file."""


def load_tensors(path: Path) -> Any:
    """What the file at `path` holds: tensors in plain containers, on the CPU.

    Raises ProgramFileError, or one of the half dozen exceptions that torch has for files it cannot read.
    """
    with saved_file(path) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def saved_file(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, open for `torch.load`. Raises ProgramFileError.

    `torch.load` goes by what a file is: it may hand a TorchScript archive to `torch.jit.load`, which runs the
    archive's code, whatever unpickler it was told to use. So such an archive never reaches it.
    """
    with Path(path).open("rb") as file:
        if _is_torchscript(file):
            raise ProgramFileError(
                f"{path} is a TorchScript archive (torch.jit.save), a program whose code runs when it is "
                "loaded: it is not read. Ask whoever made it for the weights alone, torch.save(state_dict)"
            )
        file.seek(0)
        yield file


def is_legacy(path: Path) -> bool:
    """Whether the file at `path` is of `torch.save`'s format of before PyTorch 1.6, or a bare pickle."""
    with Path(path).open("rb") as file:
        starts_as_pickle = file.read(1) == PICKLE_MAGIC
    return starts_as_pickle or tarfile.is_tarfile(path)


def _is_torchscript(file: BinaryIO) -> bool:
    if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
        return False
    file.seek(0)
    # torch's own reader: what another one makes of a crafted archive need not be what torch.load will see
    records = torch._C.PyTorchFileReader(file).get_all_records()
    return any(name in ("constants.pkl", "model.json") or name.startswith("code/") for name in records)
