"""Any folder of images: FFHQ, CelebA-HQ and ImageNet lie on disks this way.

Images in sub-folders are labelled by them; where any image lies directly in the folder, there are no labels.
A folder with train/ and val/ is split as it says, any other by `data.validation_share` and the seed. Every
file is tried before training starts.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from mvqlab.config import DataConfig
from mvqlab.data.captions import read_captions
from mvqlab.data.checking import faulty_files
from mvqlab.data.contents import contents_hash
from mvqlab.data.dataset import DataError, DataWarning, Picture, PictureDataset, Splits, some_of
from mvqlab.data.image_files import read_square
from mvqlab.data.listing import Listing, given_split, held_out_names, list_images
from mvqlab.data.seeds import short_hash

READING_VERSION = 1  # raise it when the same file would look different


class ImageFile(NamedTuple):
    """An image file: named relative to `data.root`, with the folder that is its class ("" without one)."""

    name: str
    class_name: str
    is_held_out: bool


class FolderDataset(PictureDataset):
    """The central squares of image files under `root`, resized with antialiasing."""

    def __init__(
        self,
        files: list[ImageFile],
        class_names: list[str],
        captions: dict[str, str],
        config: DataConfig,
        flip: bool,
    ) -> None:
        super().__init__(len(files), config.resolution, flip)
        numbers = {name: label for label, name in enumerate(class_names)}
        self.root, self.max_megapixels = _root_of(config), config.max_megapixels
        self.names = [file.name for file in files]
        self.labels = [numbers.get(file.class_name, -1) for file in files]
        self.captions = [captions.get(name, "") for name in self.names]

    def picture(self, index: int) -> Picture:
        pixels = read_square(self.root / self.names[index], self.resolution, self.max_megapixels)
        return Picture(pixels, self.labels[index], self.captions[index])

    def caption(self, index: int) -> str:
        return self.captions[index]


def folder_splits(config: DataConfig) -> Splits:
    """The training and the held-out images of `config.root`, once all files are checked.

    Warns (DataWarning) of bad files that are skipped, where `config.skip_bad` lets them, and of images
    without a caption. Raises DataError, naming every file, folder or caption that is at fault.
    """
    files, n_ignored, faults_of_listing = _find(config)
    names = [file.name for file in files]
    captions = _captions(config, names)
    stamp_of = {name: _stamp(_root_of(config) / name) for name in names}
    faults = faulty_files(_root_of(config), names, list(stamp_of.values()), config.max_megapixels)
    bad, n_files = [*faults_of_listing, *faults.values()], len(files) + len(faults_of_listing)
    if bad and not config.skip_bad:
        raise DataError(_refusal(bad, n_files))
    usable = _usable(files, faults)
    class_names = sorted({file.class_name for file in usable} - {""})
    train, held_out = _parts(usable, config)
    if bad:
        warnings.warn(
            f"{len(bad)} of {n_files} images are skipped (data.skip_bad):\n{some_of(bad)}",
            DataWarning,
            stacklevel=2,
        )
    settings = (config.resolution, config.validation_share, config.flip, config.seed)
    used = [file.name for file in usable]
    contents = contents_hash(_root_of(config), used, [stamp_of[name] for name in used])
    return Splits(
        train=FolderDataset(train, class_names, captions, config, config.flip),
        validation=FolderDataset(held_out, class_names, captions, config, flip=False),
        class_names=class_names,
        label_meaning="folder" if class_names else "",
        data_hash=short_hash("folder", READING_VERSION, settings, usable, contents, sorted(captions.items())),
        skipped=bad,
        n_ignored=n_ignored,
    )


class _Found(NamedTuple):
    files: list[ImageFile]
    n_ignored: int
    faults: list[str]


def _find(config: DataConfig) -> _Found:
    """All images; where the folder is split already, each is held out or not."""
    root = _root_of(config)
    split = given_split(root)
    if split is None:
        listing = list_images(root)
        files = [ImageFile(*pair, False) for pair in zip(listing.names, listing.classes, strict=True)]
        return _Found(files, listing.n_ignored, listing.faults)
    train, held_out = (list_images(folder) for folder in split)
    strangers = sorted(set(held_out.classes) - set(train.classes))
    if strangers:
        raise DataError(
            f"data.root: {held_out.root} has images of classes that {train.root} has not: "
            f"{some_of([name or '(images without a class folder)' for name in strangers], ', ')}"
        )
    files = _below(root, train, is_held_out=False) + _below(root, held_out, is_held_out=True)
    return _Found(files, train.n_ignored + held_out.n_ignored, train.faults + held_out.faults)


def _below(root: Path, listing: Listing, is_held_out: bool) -> list[ImageFile]:
    way = listing.root.relative_to(root).as_posix()
    pairs = zip(listing.names, listing.classes, strict=True)
    return [ImageFile(f"{way}/{name}", class_name, is_held_out) for name, class_name in pairs]


def _usable(files: list[ImageFile], faults: dict[str, str]) -> list[ImageFile]:
    usable = [file for file in files if file.name not in faults]
    lost = sorted({file.class_name for file in files} - {file.class_name for file in usable})
    if lost:
        where = some_of([f"the class folder {name}" if name else "data.root" for name in lost], ", ")
        raise DataError(f"every image in {where} is bad:\n{some_of(list(faults.values()))}")
    return usable


class _Parts(NamedTuple):
    train: list[ImageFile]
    held_out: list[ImageFile]


def _parts(files: list[ImageFile], config: DataConfig) -> _Parts:
    held_out = {file.name for file in files if file.is_held_out}
    if given_split(_root_of(config)) is None:
        held_out = held_out_names([file.name for file in files], config.validation_share, config.seed)
    parts = _Parts(
        [file for file in files if file.name not in held_out],
        [file for file in files if file.name in held_out],
    )
    if not all(parts):
        raise DataError(f"data.root: every image of one split of {config.root} is bad, so it would be empty")
    return parts


def _refusal(faults: list[str], n_files: int) -> str:
    return (
        f"{len(faults)} of {n_files} images cannot be used:\n{some_of(faults)}\n"
        f"Mend or remove them, or set data.skip_bad=true to go on without them."
    )


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:  # a link to nowhere: the check names it
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _captions(config: DataConfig, names: list[str]) -> dict[str, str]:
    if config.captions is None:
        return {}
    return read_captions(_at_home(config.captions), names, config.uncaptioned_share)


def _root_of(config: DataConfig) -> Path:
    return _at_home(config.root or Path())


def _at_home(path: Path) -> Path:
    """`path` of a setting; ``~`` at its beginning is the user's home."""
    return path.expanduser()
