"""Files that are written whole or not at all: a run cut short never leaves half a file in their place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

CACHE_VARIABLE = "MVQLAB_CACHE"


def cache_folder() -> Path:
    """Where what can be made again is kept: $MVQLAB_CACHE, else ~/.cache/mvqlab."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "mvqlab")


def writable_folder(folder: Path, what: str) -> Path:
    """Make a cache's `folder`, or raise OSError that says where `what` could be kept instead."""
    advice = f"cannot keep {what} in {folder}: set {CACHE_VARIABLE} to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(advice) from error
    if not os.access(folder, os.W_OK):
        raise OSError(advice)
    return folder


class InTheWayError(OSError):
    """Something stands where a command would write, and is not replaced unasked. Says what to do."""


def check_nothing_in_the_way(path: Path | str, advice: str) -> None:
    """Raise InTheWayError, ending in `advice`, if `path` is a file or a folder with anything in it."""
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise InTheWayError(f"{path} is there already: {advice}")


def free_name(path: Path) -> Path:
    """`path` or, if that is taken, the first of stem-2, stem-3 and so on that is not."""
    names = chain([path], (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in count(2)))
    return next(name for name in names if not name.exists())


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and move what was written there over `path`.

    The temporary name ends like `path`, so writers that go by the suffix work. If the block raises,
    `path` is left as it was and the temporary file is deleted. Missing parent folders are made.

    Raises FileNotFoundError if the block wrote nothing, InTheWayError where `path` is a folder, a device or a
    pipe, OSError where the disk does not let it::

        with whole_file("results/table.csv") as temporary:
            table.to_csv(temporary)
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # whoever may write to its folder would put a file in the place of /dev/null, or of a pipe
        raise InTheWayError(f"{path} is no ordinary file, and none is put in its place: name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.chmod(_usual_mode())  # some writers leave files that only their owner can read
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_whole(path: str | Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all. Raises as `whole_file` does."""
    write_bytes_whole(path, text.encode("utf-8"))


def write_bytes_whole(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises as `whole_file` does."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def _usual_mode() -> int:
    """The mode that a new file gets from `open`."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush_to_disk(path: Path) -> None:
    # without it, a power cut after the rename can leave the new name on an empty file
    with path.open("rb+") as file:
        os.fsync(file.fileno())
