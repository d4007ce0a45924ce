"""The course in a folder of one's own: notebooks, grids and the results that they are held against."""

from __future__ import annotations

import shutil
from pathlib import Path

from mvqlab import __version__
from mvqlab.support.files import InTheWayError, whole_file, write_text_whole
from mvqlab.support.lab import LAB, LAID_OUT, lab_files


def lay_out(folder: Path, lecturer: bool = False, fresh: bool = False) -> list[Path]:
    """Copy the course into `folder`; returns what was written.

    With `lecturer` the solutions, the page for lecturers and what the book is made with, too. Grids that run
    there leave their results in `folder`. Raises InTheWayError where a file of these names is there, unless
    `fresh`.
    """
    written = {folder / path: LAB / path for path in lab_files(lecturer=lecturer)}
    there = [path for path in written if path.exists() or path.is_symlink()]
    if there and not fresh:
        others = f", and {len(there) - 1} more of these names" if len(there) > 1 else ""
        raise InTheWayError(f"{there[0]} is there already{others}: --fresh (fresh=True) replaces them")
    for path, source in written.items():
        with whole_file(path) as temporary:
            shutil.copyfile(source, temporary)
    write_text_whole(folder / LAID_OUT, f"laid out by `mvqlab course init` of mvqlab {__version__}\n")
    return list(written)
