"""Where data sets lie that are fetched, and how long the network is waited for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvqlab.support.files import cache_folder

PATIENCE = 30.0  # seconds without an answer after which a download is given up


def data_root(root: Path | None) -> Path:
    """The folder of fetched sets: `root` if it is given, else data/ in mvqlab's cache."""
    return cache_folder() / "data" if root is None else root.expanduser()


@contextmanager
def network_patience() -> Iterator[None]:
    """Sockets that are opened inside give up after PATIENCE, rather than wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
