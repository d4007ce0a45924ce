"""Whether a PNG file holds all of its rows: Pillow leaves those black that are missing.

The layout is that of the PNG specification (third edition), sections 5 (chunks), 8 (interlacing).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE_BYTES = 8
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
# first column and row, then steps between columns and rows, of each pass over an interlaced image
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
BLOCK = 2**16  # bytes that are unpacked at a time: what they say is counted and not kept


def check_rows(file: BinaryIO) -> None:
    """Raise ValueError where the pixels of the PNG in `file` unpack to less than its header says.

    Raises struct.error or zlib.error where the file is damaged.
    """
    header = next(_chunks(file, b"IHDR"), b"")
    width, height, depth, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", header[:13])
    needed = _packed_bytes(width, height, depth * SAMPLES[colour], bool(is_interlaced))
    unpacker, n_bytes = zlib.decompressobj(), 0
    for packed in _chunks(file, b"IDAT"):
        while packed and n_bytes < needed:
            n_bytes += len(unpacker.decompress(packed, BLOCK))
            packed = unpacker.unconsumed_tail
    # the last of it may still lie in the unpacker
    while n_bytes < needed and (rest := unpacker.decompress(b"", BLOCK)):
        n_bytes += len(rest)
    if n_bytes < needed:
        raise ValueError(f"its pixels end after {n_bytes} of {needed} bytes, some rows are missing")


def _packed_bytes(width: int, height: int, bits: int, is_interlaced: bool) -> int:
    """Bytes of all rows, each with the byte of its filter before it."""
    passes = ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    n_bytes = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            n_bytes += rows * (1 + -(-columns * bits // 8))
    return n_bytes


def _chunks(file: BinaryIO, kind: bytes) -> Iterator[bytes]:
    """The content of the chunks of one `kind`."""
    file.seek(SIGNATURE_BYTES)
    while len(head := file.read(8)) == 8:
        length, found = struct.unpack(">I4s", head)
        if found == kind:
            yield file.read(length)
        else:
            file.seek(length, 1)
        file.seek(4, 1)  # the check sum
