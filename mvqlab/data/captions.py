"""Captions of image files, from a CSV table."""

from __future__ import annotations

import csv
from pathlib import Path

from mvqlab.data.samples import DataError, some_of


def read_captions(path: Path, names: list[str]) -> dict[str, str]:
    """Captions by file name, from a CSV file with the columns `file` (relative to data.root) and `caption`.

    `names` are the image files that exist; those without a caption are left out.
    Raises DataError where the table is missing, malformed, or names other files.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            if not {"file", "caption"} <= set(table.fieldnames or ()):
                raise DataError(f"{path}: needs the columns 'file' and 'caption', has {table.fieldnames}")
            rows = [(Path(row["file"] or "").as_posix(), (row["caption"] or "").strip()) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.captions: {path} cannot be read ({error})") from None
    captions = dict(rows)
    absent = sorted(set(captions) - set(names))
    if absent:
        raise DataError(
            f"{path}: there are captions ({len(absent)}) for files that are not images under data.root: "
            f"{some_of(absent, ', ')}"
        )
    if len(captions) < len(rows):
        raise DataError(
            f"{path}: {len(rows) - len(captions)} files have more than one caption; keep one each"
        )
    return captions
