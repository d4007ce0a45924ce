"""What image files hold, by their bytes: the same wherever a folder is copied to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from multiprocessing.pool import ThreadPool
from pathlib import Path

from mvqlab.data.checking import MANY, THREADS
from mvqlab.data.dataset import DataError
from mvqlab.data.seeds import short_hash
from mvqlab.support.files import cache_folder, write_text_whole
from mvqlab.support.progress import Progress

BLOCK = 2**20  # bytes that are read at a time


def contents_hash(root: Path, names: Sequence[str], stamps: Sequence[tuple[int, int]]) -> str:
    """A short hash of the bytes of the files `names` under `root`, in this order.

    stamps: each file's size in bytes and modification time in nanoseconds. A large folder that is as it was
    when it was last hashed is not read again. Raises DataError.
    """
    if len(names) < MANY:
        return _hash_all(root, names)
    key = short_hash(str(root.resolve()), list(names), list(stamps))
    memory = cache_folder() / "contents" / f"{key}.json"
    with suppress(OSError, ValueError):
        if isinstance(known := json.loads(memory.read_text(encoding="utf-8")), str):
            return known
    found = _hash_all(root, names)
    with suppress(OSError):  # a cache that cannot be written costs a second reading, not the run
        write_text_whole(memory, json.dumps(found))
    return found


def _hash_all(root: Path, names: Sequence[str]) -> str:
    whole = blake2b(digest_size=6)
    with ThreadPool(THREADS) as pool:
        found = pool.imap(lambda name: _hash_of(root / name), names, chunksize=16)
        if len(names) < MANY:
            for digest in found:
                whole.update(digest)
            return whole.hexdigest()
        with Progress("hashing images", len(names)) as progress:
            for digest in found:
                whole.update(digest)
                progress.advance()
    return whole.hexdigest()


def _hash_of(path: Path) -> bytes:
    of_file = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                of_file.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return of_file.digest()
