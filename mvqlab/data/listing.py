"""Which files of a folder are images, which class each belongs to, and which are held out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvqlab.data.dataset import DataError, some_of
from mvqlab.data.image_files import IMAGE_SUFFIXES, UNREAD_SUFFIXES, unread
from mvqlab.data.seeds import share_of

HELD_OUT_NAMES = ("val", "validation", "valid")


@dataclass(frozen=True)
class Listing:
    """The images under `root`.

    names: relative to `root`, with forward slashes, sorted.
    classes: of each image, the first folder on its way, or "" for all where any lies outside of one.
    n_ignored: files that are no images by their extension; hidden ones are passed over.
    faults: a line each for folders that cannot be looked into and for images of kinds that are not read.
    """

    root: Path
    names: list[str]
    classes: list[str]
    n_ignored: int
    faults: list[str]


def list_images(root: Path) -> Listing:
    """Find the images under `root` by their extensions.

    Raises DataError where the folder is missing, holds no image, or has a class without images.
    """
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.root: {root} {state}; set it to the folder of images")
    faults: list[str] = []
    files = [name for folder in _walk(root, faults) for name in folder]
    names = sorted(name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    others = sorted(name for name in files if Path(name).suffix.lower() in UNREAD_SUFFIXES)
    faults = sorted(faults) + [unread(root / name, Path(name).suffix) for name in others]
    n_ignored = len(files) - len(names) - len(others)
    if not names:
        raise DataError(
            f"data.root: {root} holds no images ({n_ignored} other files); images are known by their "
            f"extensions: {' '.join(sorted(IMAGE_SUFFIXES))}{_after(faults)}"
        )
    return Listing(root, names, _classes_of(root, names, faults), n_ignored, faults)


def given_split(root: Path) -> tuple[Path, Path] | None:
    """The sub-folders of training and of held-out images, where the folder comes with both.

    Raises DataError where there is a train/ that has no partner.
    """
    below = _folders_in(root)
    held_out = [name for name in HELD_OUT_NAMES if name in below]
    if "train" in below and held_out:
        return root / "train", root / held_out[0]
    if "train" in below and set(below) <= {"train", "test"}:
        raise DataError(
            f"data.root: {root} has a folder train/ but none named val/; add one, or set "
            f"data.root={root / 'train'} to have a share of it held out (data.validation_share)"
        )
    return None


def held_out_names(names: Sequence[str], share: float, seed: int) -> set[str]:
    """About `share` of the names. Whether one is held out depends on it and the seed alone.

    So a file that comes or goes later moves no other, except that neither part is ever left empty.
    Raises DataError where there are fewer than two names.
    """
    if len(names) < 2:
        raise DataError(f"{len(names)} usable images cannot be split into training and held-out ones")
    lots = {name: share_of(seed, "held out", name) for name in names}
    n_held_out = sum(lot < share for lot in lots.values())
    n_held_out = min(max(n_held_out, 1), len(names) - 1)
    return set(sorted(lots, key=lots.__getitem__)[:n_held_out])


def _classes_of(root: Path, names: list[str], faults: list[str]) -> list[str]:
    classes = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    if not all(classes):
        return [""] * len(names)
    empty = sorted(set(_folders_in(root)) - set(classes))
    if empty:
        raise DataError(
            f"data.root: {root} has class folders without images: {', '.join(empty)}; fill or remove them"
            f"{_after(faults)}"
        )
    return classes


def _after(faults: list[str]) -> str:
    return f"\n{some_of(faults)}" if faults else ""


def _walk(root: Path, faults: list[str]) -> Iterator[list[str]]:
    """The files of every folder under `root`, named from there, following links but never in a circle.

    `faults` receives a line for each folder that cannot be looked into.
    """

    def note(error: OSError) -> None:
        faults.append(f"{error.filename}: the folder cannot be read ({error.strerror})")

    seen: set[str] = set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=note):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else [name for name in below if not _is_hidden(name)]
        if real not in seen:
            seen.add(real)
            way = Path(folder).relative_to(root)
            yield [(way / name).as_posix() for name in files if not _is_hidden(name)]


def _folders_in(root: Path) -> list[str]:
    try:
        if not root.is_dir():
            return []
        return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"data.root: {root} cannot be read ({error.strerror})") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
