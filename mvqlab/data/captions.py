"""Captions of image files, from a CSV table."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mvqlab.data.dataset import DataError, DataWarning, some_of

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
NAMED = 5  # files that a message names


class _Row(NamedTuple):
    line: int  # where it ends, from 1 on
    file: str
    caption: str


def read_captions(path: Path, names: list[str], uncaptioned_share: float) -> dict[str, str]:
    """Captions by file name, from a CSV file with the columns `file` (relative to data.root) and `caption`.

    `names` are the image files that exist; of those without a caption a DataWarning tells.
    Raises DataError where the table is missing, malformed, or names other files, or where more than
    `uncaptioned_share` of the images are without a caption.
    """
    known = set(names)
    rows = list(_rows(path, known))
    captions = {row.file: row.caption for row in rows}
    _check_files(path, rows, known)
    without = [name for name in names if not captions.get(name)]
    if without:
        told = f"{path}: {len(without)} of {len(names)} images have no caption: {_some(without)}"
        if len(without) > uncaptioned_share * len(names):
            raise DataError(
                f"{told}. These are more than data.uncaptioned_share={uncaptioned_share:g} allows: complete "
                "the table, or set a larger share"
            )
        warnings.warn(f"{told}. They are learned from without one", DataWarning, stacklevel=3)
    return captions


def _check_files(path: Path, rows: list[_Row], known: set[str]) -> None:
    counts = Counter(row.file for row in rows)
    absent = sorted(set(counts) - known)
    if absent:
        raise DataError(
            f"{path}: there are captions ({len(absent)}) for files that are not images under data.root: "
            f"{some_of(absent, ', ')}"
        )
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: {len(twice)} files have more than one caption ({_some(twice)}); keep one each"
        )


def _rows(path: Path, known: set[str]) -> Iterator[_Row]:
    """The rows of the table at `path`. Raises DataError, with the line, where one is malformed."""
    # strict: a quote that is not closed would take the rest of the file for one caption
    table = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    try:
        header = next(table, None)
        places = _places(path, header)
        for cells in table:
            if any(cell.strip() for cell in cells):
                yield _row(path, table.line_num, cells, len(header or ()), places, known)
    except csv.Error as error:
        raise DataError(
            f"data.captions: {path} cannot be read up to line {table.line_num} ({error}): is every quote "
            'closed, and a quote inside a caption doubled ("")?'
        ) from None


def _text_of(path: Path) -> str:
    try:
        if not path.is_file():
            path.stat()  # says where there is none
            raise DataError(f"data.captions: {path} cannot be read (it is no file)")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        advice = "" if isinstance(error, OSError) else ": save the table as UTF-8"
        raise DataError(f"data.captions: {path} cannot be read ({error}){advice}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"data.captions: {path} has a NUL in line {line}: it is damaged, or not UTF-8 text")
    return text


class _Places(NamedTuple):
    file: int
    caption: int


def _places(path: Path, header: list[str] | None) -> _Places:
    """Where the two columns stand in `header`."""
    words = [cell.strip() for cell in header or ()]
    if words.count("file") == words.count("caption") == 1:
        return _Places(words.index("file"), words.index("caption"))
    line = ",".join(words)
    used = next((name for sign, name in SEPARATORS.items() if sign in line and "caption" in line), None)
    advice = f"; its columns are set apart by {used}: write commas" if used else ""
    found = words if header else None
    raise DataError(f"{path}: needs the columns 'file' and 'caption', has {found} (each once){advice}")


def _row(path: Path, line: int, cells: list[str], width: int, places: _Places, known: set[str]) -> _Row:
    if len(cells) > width:
        raise DataError(
            f"{path}: line {line} has {len(cells)} columns, the first line {width}: a caption with a comma "
            'stands in quotes ("a red, small disc")'
        )
    if len(cells) <= max(places):
        raise DataError(f"{path}: line {line} has {len(cells)} columns, too few for a file and its caption")
    file, caption = cells[places.file].strip(), cells[places.caption].strip()
    if not file:
        raise DataError(f"{path}: line {line} has a caption and names no file")
    for lost in caption.splitlines()[1:]:
        if _file_of(lost.split(",")[0].strip(' "')) in known:
            raise DataError(
                f"{path}: the caption that ends in line {line} holds other rows ({lost[:60]}): a quote "
                "before them is not closed"
            )
    return _Row(line, _file_of(file), caption)


def _file_of(cell: str) -> str:
    return Path(cell).as_posix()


def _some(names: list[str]) -> str:
    return some_of(names, ", ", NAMED)
