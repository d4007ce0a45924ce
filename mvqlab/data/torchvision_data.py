"""Any image set of torchvision.datasets: data.name=torchvision data.set=CIFAR10, and so on.

Pictures are made as those of folders are: the central square, resized with antialiasing. Captions are the
names of the classes. Sets lie below data.root as torchvision lays them out (default: mvqlab's cache).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data.dataset import DataError, Picture, PictureDataset, Splits
from mvqlab.data.fetching import data_root, network_patience
from mvqlab.data.image_files import centre_square, check_pixels, faults_of, open_image, to_pixels, to_rgb
from mvqlab.data.listing import held_out_names
from mvqlab.data.seeds import places_drawn, short_hash
from mvqlab.data.torchvision_sets import (
    KINDS,
    Images,
    Kind,
    can_download,
    class_names_of,
    class_of,
    file_names_of,
    labels_of,
)

READING_VERSION = 1  # raise it when the same image would look different


class Selection(NamedTuple):
    """Images of a set of torchvision's: those of `source` at `places` (N,), in this order."""

    source: Images
    places: np.ndarray

    def drawn(self, at_most: int, seed: int, split: str) -> Selection:
        """All, or `at_most`, shuffled: most sets are sorted by class, and many look at the first few only."""
        return Selection(self.source, self.places[places_drawn(len(self.places), at_most, seed, split)])


class TorchvisionDataset(PictureDataset):
    """The images of a selection, with labels, captions and masks as far as the set has them."""

    def __init__(
        self,
        selection: Selection,
        name: str,
        class_names: list[str],
        resolution: int,
        flip: bool = False,
        max_megapixels: float = 64.0,
    ) -> None:
        super().__init__(len(selection.places), resolution, flip)
        self.max_megapixels = max_megapixels
        self.selection, self.name, self.class_names = selection, name, class_names
        labels = labels_of(selection.source)
        self.labels = None if labels is None else labels[selection.places]

    def picture(self, index: int) -> Picture:
        place, kind = int(self.selection.places[index]), KINDS[self.name]
        with faults_of(f"{self.name}, image {place}"):
            image, target = self.selection.source[place]
            label = self._label(index, target)
            # read from its header, as far as the set itself has not decoded it
            check_pixels(image, f"{self.name}, image {place}", self.max_megapixels, "data.max_megapixels")
            is_object = None
            if kind.is_object is not None and kind.mask_of is not None:
                # a mask fits the image as it is stored: nothing may turn the image by a camera's mark
                image = image.convert("RGB")
                image.info.clear()
                is_object = _square_mask(kind.is_object(np.asarray(kind.mask_of(target))), self.resolution)
            pixels = to_pixels(centre_square(to_rgb(image), self.resolution))
        return Picture(pixels, label, self._name_of(label), is_object)

    def caption(self, index: int) -> str:
        return super().caption(index) if self.labels is None else self._name_of(int(self.labels[index]))

    def _label(self, index: int, target: Any) -> int:
        if self.labels is not None:
            return int(self.labels[index])
        return int(target) if self.class_names and isinstance(target, int | np.integer) else -1

    def _name_of(self, label: int) -> str:
        return self.class_names[label] if 0 <= label < len(self.class_names) else ""


def torchvision_splits(config: DataConfig) -> Splits:
    """The training and the held-out images of `config.set`, as many as `config` asks for at most.

    Raises DataError where there is no such set, or where its files are missing, damaged or cannot be had.
    """
    kind = kind_of(config.set or "")
    train, held_out = _parts(config, kind)
    class_names = class_names_of(train.source, kind)
    strangers = set(class_names_of(held_out.source, kind)) - set(class_names)
    if strangers:
        raise DataError(f"data.set: {config.set} has held-out images of other classes: {sorted(strangers)}")
    n_found = (len(train.places), len(held_out.places))
    train = train.drawn(config.train_size, config.seed, "train")
    held_out = held_out.drawn(config.validation_size, config.seed, "validation")
    sizes = (n_found, len(train.places), len(held_out.places))
    share = config.validation_share if kind.held_out is None else None
    settings = (config.resolution, sizes, share, config.flip, config.seed)
    common: dict[str, Any] = {"name": config.set, "class_names": class_names, "resolution": config.resolution}
    common["max_megapixels"] = config.max_megapixels
    return Splits(
        train=TorchvisionDataset(train, flip=config.flip, **common),
        validation=TorchvisionDataset(held_out, **common),
        class_names=class_names,
        label_meaning="class" if class_names else "",
        data_hash=short_hash("torchvision", READING_VERSION, config.set, class_names, settings),
    )


def kind_of(name: str) -> Kind:
    """How the set `name` is asked for. Raises DataError, with the nearest names, where it is not known."""
    if name in KINDS:
        return KINDS[name]
    raise DataError(
        f"data.set: '{name}' is no image set of torchvision.datasets that mvqlab reads"
        f"{nearest_sets(name, KINDS)} There are {', '.join(KINDS)}"
    )


def nearest_sets(name: str, known: Iterable[str]) -> str:
    """`` — did you mean CIFAR10?`` for the names of sets that are nearest to `name`, or nothing."""
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[word] for word in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f" — did you mean {' or '.join(near)}?" if near else ""


def _parts(config: DataConfig, kind: Kind) -> tuple[Selection, Selection]:
    whole = _load(config, {**kind.train, **kind.more})
    if kind.held_out is not None:
        others = _load(config, {**kind.held_out, **kind.more})
        return _all_of(whole), _all_of(others)
    names = file_names_of(whole)
    held_out = held_out_names(names, config.validation_share, config.seed)
    order = sorted(range(len(names)), key=names.__getitem__)
    return (
        Selection(whole, np.array([place for place in order if names[place] not in held_out])),
        Selection(whole, np.array([place for place in order if names[place] in held_out])),
    )


def _all_of(source: Images) -> Selection:
    return Selection(source, np.arange(len(source)))


def _load(config: DataConfig, arguments: dict[str, Any]) -> Images:
    """One part of a set, fetched first where `config` allows that. Raises DataError."""
    of_set, root = class_of(config.set or ""), data_root(config.root)
    if can_download(of_set):
        # said even where it is off: there are sets that download unless they are told not to
        arguments = {**arguments, "download": config.download}
    try:
        if config.download:
            root.mkdir(parents=True, exist_ok=True)
        with network_patience():
            part = of_set(str(root), **arguments)
    # what is missing or damaged is told by exceptions of a dozen kinds, a bad network by some more
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data.set: {config.set} cannot be read from {root} ({reason}){_advice(config)}"
        ) from error
    if hasattr(part, "loader"):  # it lists files, and lets us open them
        part.loader = partial(_read, max_megapixels=config.max_megapixels)
    return part


def _read(path: str, max_megapixels: float) -> Image.Image:
    """An image file in RGB, as torchvision's own reader gives it. Raises DataError, or what Pillow does."""
    with open_image(Path(path), max_megapixels) as image:
        return image.convert("RGB")


def _advice(config: DataConfig) -> str:
    if config.download or not can_download(class_of(config.set or "")):
        return f"; put it there by hand, as the documentation of torchvision.datasets.{config.set} says"
    return "; data.download=true fetches it where there is a network, data.root names another folder"


def _square_mask(is_object: np.ndarray, resolution: int) -> np.ndarray:
    """(resolution, resolution) bool: where objects cover at least half of a pixel of the central square."""
    mask = Image.fromarray(is_object.astype(np.uint8) * np.uint8(255))
    return np.asarray(centre_square(mask, resolution)) >= 128
