"""What takes long and can be made again: made once, kept in the cache folder, read from there later."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock
from safetensors import SafetensorError

from mvqlab.support.files import cache_folder, whole_file, writable_folder

Kept = TypeVar("Kept")

# what reading a file raises that is cut short, or holds something else
UNREADABLE: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError)
UNREADABLE += (zipfile.BadZipFile, SafetensorError)


class CacheWarning(UserWarning):
    """What a cache keeps cannot be read, and is made again; or it cannot be kept, and will be next time."""


class Place(NamedTuple):
    """A file of the cache: its name, the folder in it, and what it holds, in words such as "rendered emoji".

    cache: by default $MVQLAB_CACHE, else ~/.cache/mvqlab. `name` must hold all that the content depends on.
    """

    name: str
    what: str
    folder: str = ""
    cache: Path | None = None

    def path(self) -> Path:
        """Where the file is. Makes its folder; raises CacheError where that cannot be written."""
        return writable_folder((self.cache or cache_folder()) / self.folder, self.what) / self.name


def made_once(
    place: Place,
    make: Callable[[], Kept],
    read: Callable[[Path], Kept],
    write: Callable[[Kept, Path], None],
    *,
    must_keep: bool = False,
) -> Kept:
    """What is kept at `place`: read from its file, or made first and written there, whole.

    `read` raises one of UNREADABLE where the file is no good: it is replaced, with a CacheWarning. Processes
    that want the same wait for the first. Where nothing can be kept a CacheWarning says so, since much may
    lie behind whoever asks; with `must_keep` CacheError or OSError is raised, the former before anything is
    made.
    """
    try:
        path = place.path()
    except OSError as error:
        if must_keep:
            raise
        warnings.warn(str(error), CacheWarning, stacklevel=3)
        return make()
    with FileLock(f"{path}.lock"):
        if path.exists():
            try:
                return read(path)
            except UNREADABLE as error:
                words = f"the {place.what} in {path} cannot be read ({error}): made again"
                warnings.warn(words, CacheWarning, stacklevel=3)
        made = make()
        try:
            with whole_file(path) as temporary:
                write(made, temporary)
        except OSError as error:  # a full disk
            if must_keep:
                raise
            warnings.warn(f"cannot keep {place.what} in {path}: {error}", CacheWarning, stacklevel=3)
    return made
