"""The data sets that mvqlab knows by name: what each is, its licence, its size, and whether it is here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mvqlab.config import MIXED_NAMES, DataConfig
from mvqlab.data import emoji, fashion_files, photos
from mvqlab.data.dataset import DataError
from mvqlab.data.fetching import data_root
from mvqlab.data.torchvision_data import nearest_sets, torchvision_splits
from mvqlab.data.torchvision_sets import KINDS

UNFETCHED = {  # sets that are not fetched, or not by that name: what to do instead
    "shapes": "needs no fetching: set data.name=shapes",
    "emoji": "comes with packages (mvqlab data list says which are missing): set data.name=emoji",
    "photos": "comes with packages (mvqlab data list says which are missing): set data.name=photos",
    "torchvision": (
        "is many sets, each fetched by its own name, as in mvqlab data get CIFAR10: then set "
        "data.name=torchvision and data.set=CIFAR10"
    ),
    "folder": "is images of your own: set data.name=folder and data.root=FOLDER",
    "mixture": (
        "is made of other sets: set data.name=mixture and their shares, as in "
        "data.mixture={photos: 0.8, simple: 0.2}"
    ),
}


class Entry(NamedTuple):
    """One line of the catalogue."""

    name: str  # data.name
    what: str
    licence: str
    size: str
    state: str  # whether it is on this machine, else how it gets there


def entries(root: Path | None = None) -> list[Entry]:
    """All sets; those that are fetched are looked for below `root` (default: mvqlab's cache)."""
    return [
        Entry("shapes", "drawn scenes, captions and true masks", "none needed", "endless", "drawn as needed"),
        Entry(
            "emoji",
            "OpenMoji's drawings, captions and true masks",
            "CC BY-SA 4.0",
            "3,449 + 332 drawings",
            _emoji_state(),
        ),
        Entry("photos", "crops of nine photographs", "CC0, CC BY, public domain", "endless", _photos_state()),
        Entry(
            "fashion",
            "garments in grey, true masks",
            "MIT",
            "60,000 + 10,000 images, 52 MiB",
            _fashion_state(root),
        ),
        Entry(
            "torchvision",
            f"{len(KINDS)} sets of torchvision.datasets",
            "each set's own",
            "each set's own",
            "data.set=CIFAR10 and so on; mvqlab data get CIFAR10",
        ),
        Entry("folder", "images of your own", "yours", "as it is", "data.root=FOLDER"),
        Entry(
            "mixture",
            f"several of {', '.join(MIXED_NAMES)}",
            "each set's own",
            "as many as asked for",
            "data.mixture={photos: 0.8, simple: 0.2} and so on",
        ),
    ]


def missing(config: DataConfig) -> list[str]:
    """What has to be had before the images that `config` names can be read, a phrase each."""
    if config.download:
        return []
    states = {entry.name: entry.state for entry in entries(config.root)}
    # simple scenes are drawn, as all shapes are
    used = ["shapes" if name == "simple" else name for name in config.mixture or (config.name,)]
    names = [name for name in used if states[name].startswith("not here")]
    return [f"{name} ({states[name].removeprefix('not here: ')})" for name in names]


def lines(root: Path | None = None) -> Iterator[str]:
    """The catalogue as aligned lines."""
    rows = entries(root)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()


def fetch(name: str, root: Path | None = None) -> str:
    """Fetch the set `name` to `root` (default: mvqlab's cache); says what was done.

    Raises DataError where there is no such set, or where it cannot be had.
    """
    if name in UNFETCHED:
        raise DataError(f"'{name}' {UNFETCHED[name]}")
    if name not in ("fashion", *KINDS):
        hint = nearest_sets(name, ["fashion", *UNFETCHED, *KINDS])
        raise DataError(
            f"there is no data set '{name}' to fetch{hint}; there are fashion, {', '.join(KINDS)}"
        )
    place = _made(data_root(root))
    if name == "fashion":
        return f"fashion: {fashion_files.get(place)}: {fashion_files.raw_folder(place)}"
    splits = torchvision_splits(DataConfig(name="torchvision", set=name, root=root, download=True))
    return f"{name}: {splits.n_classes} classes: {place}"


def _made(place: Path) -> Path:
    """The folder `place`, made where it was not there. Raises DataError."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{place} cannot be made ({error.strerror}): name a folder that can be written with --root"
        ) from None
    return place


def _emoji_state() -> str:
    missing = emoji.missing_packages()
    return f"not here: pip install {' '.join(missing)}" if missing else "here"


def _photos_state() -> str:
    try:
        for photograph in photos.TRAINING + photos.HELD_OUT:
            _ = photograph.path
    except DataError:
        return "not here: pip install scikit-image scikit-learn"
    return "here"


def _fashion_state(root: Path | None) -> str:
    place = data_root(root)
    if fashion_files.are_there(place):
        return f"here: {fashion_files.raw_folder(place)}"
    if fashion_files.are_at_hand(place):
        return "here, packed: unpacked when it is asked for"
    return "not here: mvqlab data get fashion"
