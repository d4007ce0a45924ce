"""Files that are written whole or not at all: a run cut short never leaves half a file in their place."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path

import psutil

CACHE_VARIABLE = "MVQLAB_CACHE"


def cache_folder() -> Path:
    """Where what can be made again is kept: $MVQLAB_CACHE, else ~/.cache/mvqlab."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "mvqlab")


class CacheError(OSError):
    """A cache's folder cannot be written. Says what to do."""


def writable_folder(folder: Path, what: str) -> Path:
    """Make a cache's `folder`, or raise CacheError that says where `what` could be kept instead."""
    advice = f"cannot keep {what} in {folder}: set {CACHE_VARIABLE} to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(advice) from error
    if not os.access(folder, os.W_OK):
        raise CacheError(advice)
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
    return next(name for name in _names_like(path) if not name.exists())


def new_folder(path: Path) -> Path:
    """Make the folder `path` or, if that is taken, stem-2 and so on; nobody else is given the same one."""
    for name in _names_like(path):
        with suppress(FileExistsError):
            name.mkdir(parents=True)
            return name
    raise AssertionError("there is always one more name")


def _names_like(path: Path) -> Iterator[Path]:
    yield path
    for n in count(2):
        yield path.with_name(f"{path.stem}-{n}{path.suffix}")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and move what was written there over `path`.

    The temporary name ends like `path`, so writers that go by the suffix work. If the block raises,
    `path` is left as it was and the temporary file is deleted. Missing parent folders are made.

    A writer that was killed leaves its temporary file; whoever next writes to that folder removes it.

    Raises FileNotFoundError if the block wrote nothing, InTheWayError where `path` is a folder, a device or a
    pipe, OSError that names `path` where the disk is full or does not let it::

        with whole_file("results/table.csv") as temporary:
            table.to_csv(temporary)
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # whoever may write to its folder would put a file in the place of /dev/null, or of a pipe
        raise InTheWayError(f"{path} is no ordinary file, and none is put in its place: name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    temporary = _temporary_for(path)
    try:
        with _refused_in_words(path, temporary):
            yield temporary
            temporary.chmod(_usual_mode())  # some writers leave files that only their owner can read
            _flush_to_disk(temporary)
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder inside `folder`, for files that are moved out when all are there; then delete it.

    Raises OSError that names `folder` where the disk is full or does not let it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    temporary = _temporary_for(folder / "files")
    try:
        with _refused_in_words(folder, temporary):
            temporary.mkdir()
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _refused_in_words(path: Path, temporary: Path) -> Iterator[None]:
    """Raise what `_refusal` makes of an error inside, if it is one of the disk's; others as they are."""
    try:
        yield
    except Exception as error:
        refusal = _refusal(error, path, temporary)
        if refusal is None:
            raise
        raise refusal from error


def write_text_whole(path: str | Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all. Raises as `whole_file` does."""
    write_bytes_whole(path, text.encode("utf-8"))


def write_bytes_whole(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises as `whole_file` does."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


ABANDONED_AFTER = 86400.0  # seconds until a temporary file of another machine is taken for left behind
TEMPORARY = ".mvqlab-"  # begins the names of temporary files
_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}(?P<machine>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]{{8}}-")
_CLOCK_SLACK = 60.0  # seconds by which a file server's clock may be behind ours
_next_look: dict[Path, float] = {}  # when each folder is looked through again for what others left behind


def _machine() -> str:
    """Where a process number means the same process: on this host, since its start, in this container."""
    facts = [socket.gethostname()]
    with suppress(OSError):  # only Linux has them
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
        facts.append(os.readlink("/proc/self/ns/pid"))
    return sha256("\n".join(facts).encode()).hexdigest()[:8]


def _temporary_for(path: Path) -> Path:
    """A new name beside `path` that says who writes it and ends as `path` does, at most 255 bytes long."""
    tail = path.name.encode(errors="surrogateescape")[-180:].decode(errors="ignore")
    return path.with_name(f"{TEMPORARY}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}-{tail}")


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers are dead.

    In a large folder not at each write: at most a tenth of this process's time goes into looking.
    """
    began = time.monotonic()
    if began < _next_look.get(folder, 0.0):
        return
    with suppress(OSError):
        for path in folder.glob(f"{TEMPORARY}*"):
            if not _is_abandoned(path):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    now = time.monotonic()
    _next_look[folder] = now + 10 * (now - began)


def _is_abandoned(path: Path) -> bool:
    found = _TEMPORARY.match(path.name)
    if found is None:
        return False
    if found["machine"] != _machine():
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER
    try:
        writer = psutil.Process(int(found["process"]))
        if writer.status() == psutil.STATUS_ZOMBIE:
            return True
        began = writer.create_time()
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError, OverflowError):
        return False
    # an older file is of another process, whose number was given anew
    return path.stat().st_ctime + _CLOCK_SLACK < began


# What writers that are not Python's own say where the system refused them, and for which reason it did.
_SAID_OF = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC,
    "Read-only file system": errno.EROFS,
    "File too large": errno.EFBIG,
    "Input/output error": errno.EIO,
}


def _refusal(error: Exception, path: Path, temporary: Path) -> OSError | None:
    """The system's refusal to write `path` that `error` tells of, naming `path`; else None."""
    if isinstance(error, OSError):
        is_elsewhere = error.filename is not None and not str(error.filename).startswith(str(temporary))
        if is_elsewhere or error.errno in (None, errno.ENOENT):
            return None
        return OSError(error.errno, os.strerror(error.errno), str(path))
    message = str(error)
    # safetensors passes the system's words on, torch's own writer hides even these
    for words, number in _SAID_OF.items():
        if words in message:
            return OSError(number, os.strerror(number), str(path))
    if any(words in message for words in ("PytorchStreamWriter", "inline_container.cc", "iostream error")):
        return OSError(errno.ENOSPC, "could not be written whole, is the disk full?", str(path))
    return None


def _usual_mode() -> int:
    """The mode that a new file gets from `open`."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush_to_disk(path: Path) -> None:
    # without it, a power cut after the rename can leave the new name on an empty file
    with path.open("rb+") as file:
        os.fsync(file.fileno())
