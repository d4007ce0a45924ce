"""Every image file is tried once before a run starts, so that none stops it half-way."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

from PIL import Image
from PIL import __version__ as pillow_version

from mvqlab.data.dataset import DataError
from mvqlab.data.image_files import check_image
from mvqlab.data.seeds import short_hash
from mvqlab.support.files import cache_folder, write_text_whole
from mvqlab.support.progress import Progress

MANY = 1000  # files whose check takes long enough to show progress and to remember the outcome
CHECK_VERSION = 2  # raise it when a file that passed before may be found bad
THREADS = min(16, (os.cpu_count() or 1) + 4)  # more than processors: half of the time goes to the disk


def faulty_files(
    root: Path, names: Sequence[str], stamps: Sequence[tuple[int, int]], max_megapixels: float
) -> dict[str, str]:
    """The files under `root` that cannot be used, each with its fault in one line.

    `stamps` holds each file's size in bytes and modification time in nanoseconds: a large folder that is
    as it was at its last check is not read again.
    """
    if len(names) < MANY:
        return _check_all(root, names, max_megapixels)
    memory = _memory_file(
        short_hash(CHECK_VERSION, pillow_version, str(root.resolve()), names, stamps, max_megapixels)
    )
    # an outcome that was never kept, or not kept whole, is found anew
    with suppress(OSError, ValueError):
        return json.loads(memory.read_text(encoding="utf-8"))
    faults = _check_all(root, names, max_megapixels)
    # a home folder that cannot be written costs a check, not the run
    with suppress(OSError):
        write_text_whole(memory, json.dumps(faults))
    return faults


def _check_all(root: Path, names: Sequence[str], max_megapixels: float) -> dict[str, str]:
    def fault_of(name: str) -> str | None:
        try:
            check_image(root / name, max_megapixels)
        except DataError as error:
            return str(error)
        return None

    faults = {}
    # Pillow warns by a limit of its own; here max_megapixels decides. Filters belong to the whole
    # process, so this one stands around the threads and not in them.
    with warnings.catch_warnings(), ThreadPool(THREADS) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        found = pool.imap(fault_of, names, chunksize=16)
        for name, fault in zip(names, _with_progress(found, len(names)), strict=True):
            if fault is not None:
                faults[name] = fault
    return faults


def _with_progress(found: Iterable[str | None], total: int) -> Iterator[str | None]:
    if total < MANY:
        yield from found
        return
    with Progress("checking images", total) as progress:
        for fault in found:
            progress.advance()
            yield fault


def _memory_file(name: str) -> Path:
    return cache_folder() / "checked" / f"{name}.json"
