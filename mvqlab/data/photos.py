"""Crops of real photographs that come inside two Python packages: nothing is downloaded.

These are all colour photographs in them that come with a clear licence. Training and held-out crops come from
different photographs, so that a low held-out loss cannot come from remembering: the last two of the table are
held out. A label says which photograph a crop is from, counted over both splits.

| photograph            | package      | by, and licence                                                     |
|-----------------------|--------------|---------------------------------------------------------------------|
| chelsea.png           | scikit-image | Stefan van der Walt; CC0                                            |
| hubble_deep_field.jpg | scikit-image | NASA; public domain                                                 |
| ihc.png               | scikit-image | Center for Microscopy and Molecular Imaging; no known restrictions  |
| retina.jpg            | scikit-image | Mikael Häggström, "normal left eye", Wikimedia Commons; CC0         |
| rocket.jpg            | scikit-image | SpaceX (Falcon 9 with DSCOVR); public domain                        |
| china.jpg             | scikit-learn | danielbuechele on Flickr; CC BY 2.0                                 |
| coffee.png            | scikit-image | Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0               |
| astronaut.png         | scikit-image | NASA (Eileen Collins); public domain                                |
| flower.jpg            | scikit-learn | vultilion on Flickr; CC BY 2.0                                      |
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data.dataset import DataError, Picture, PictureDataset, Splits
from mvqlab.data.image_files import opened, resized, to_pixels
from mvqlab.data.seeds import generator, short_hash

CREDIT = (
    "Photographs: china by danielbuechele and flower by vultilion (both CC BY 2.0, by way of scikit-learn); "
    "the others are in the public domain or CC0 (by way of scikit-image)"
)
CROPPING_VERSION = 2  # raise it when the same index would look different

SMALLEST_CROP = 1 / 16  # side of the smallest crop, as a share of the photograph's shorter side
FAINTEST_CROP = 12.0  # standard deviation of a crop's 8-bit greys under which it shows nearly nothing
MEGAPIXELS = 64.0  # the most that a photograph may have
CROPS_TRIED = 12  # before the one that shows most is taken


class Photograph(NamedTuple):
    """A photograph inside an installed package."""

    name: str
    package: str  # as pip knows it
    module: str  # as Python imports it
    file: str  # inside the module's folder

    @property
    def path(self) -> Path:
        """Where it lies. Raises DataError where the package or the file is missing."""
        found = find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise DataError(
                f"the photograph '{self.name}' comes with {self.package}: pip install {self.package}"
            )
        path = Path(found.submodule_search_locations[0]) / self.file
        if not path.is_file():
            raise DataError(
                f"the installed {self.package} {_version(self.package)} has no {self.file} (photograph "
                f"'{self.name}'): install a release that has it, or use data.name=shapes or data.name=folder"
            )
        return path


def _skimage(name: str, file: str) -> Photograph:
    return Photograph(name, "scikit-image", "skimage", f"data/{file}")


def _sklearn(name: str, file: str) -> Photograph:
    return Photograph(name, "scikit-learn", "sklearn", f"datasets/images/{file}")


TRAINING = (
    _skimage("chelsea", "chelsea.png"),
    _skimage("hubble_deep_field", "hubble_deep_field.jpg"),
    _skimage("immunohistochemistry", "ihc.png"),
    _skimage("retina", "retina.jpg"),
    _skimage("rocket", "rocket.jpg"),
    _sklearn("china", "china.jpg"),
    _skimage("coffee", "coffee.png"),
)
HELD_OUT = (_skimage("astronaut", "astronaut.png"), _sklearn("flower", "flower.jpg"))


class PhotosDataset(PictureDataset):
    """`size` random square crops of `photographs`, resized with antialiasing.

    The label of a crop is its photograph's place in `photographs`, plus `first_label`.
    """

    def __init__(
        self,
        photographs: tuple[Photograph, ...],
        size: int,
        resolution: int,
        seed: int,
        split: str,
        first_label: int = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(size, resolution, flip)
        self.photographs, self.seed, self.split, self.first_label = photographs, seed, split, first_label

    def picture(self, index: int) -> Picture:
        rng = generator(self.seed, self.split, index)
        label = int(rng.integers(len(self.photographs)))
        photograph = decoded(self.photographs[label].path)
        return Picture(_telling_crop(photograph, self.resolution, rng), self.first_label + label)

    def caption(self, index: int) -> str:
        return ""  # no photograph has one, so none has to be cropped


def photos_splits(config: DataConfig) -> Splits:
    """Crops of the training photographs and of the held-out ones. Raises DataError where one is missing."""
    photographs = TRAINING + HELD_OUT
    sizes = [photograph.path.stat().st_size for photograph in photographs]
    settings = (config.resolution, config.train_size, config.validation_size, config.flip, config.seed)
    common: dict[str, Any] = {"resolution": config.resolution, "seed": config.seed}
    return Splits(
        train=PhotosDataset(TRAINING, config.train_size, split="train", flip=config.flip, **common),
        validation=PhotosDataset(
            HELD_OUT, config.validation_size, split="validation", first_label=len(TRAINING), **common
        ),
        class_names=[photograph.name for photograph in photographs],
        label_meaning="source photograph",
        data_hash=short_hash("photos", CROPPING_VERSION, settings, sizes),
        credit=CREDIT,
    )


@lru_cache(maxsize=len(TRAINING + HELD_OUT))
def decoded(path: Path) -> Image.Image:
    """The photograph in RGB, decoded once a process. Raises DataError where its file is damaged."""
    with opened(path, MEGAPIXELS) as image:
        return image.convert("RGB")


def _telling_crop(photograph: Image.Image, resolution: int, rng: np.random.Generator) -> np.ndarray:
    """(3, resolution, resolution) uint8: the first random crop that is not nearly one shade."""
    best, most = np.empty(0), -1.0
    for _ in range(CROPS_TRIED):
        crop = resized(photograph, _random_square(photograph.size, resolution, rng), resolution)
        contrast = float(np.asarray(crop.convert("L")).std())
        if contrast > most:
            best, most = to_pixels(crop), contrast
        if contrast >= FAINTEST_CROP:
            break
    return best


def _random_square(
    size: tuple[int, int], resolution: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A square inside an image of `size`, as (left, top, right, bottom); all zooms equally likely.

    It holds at least `resolution` pixels a side, where the image does: a crop is not blown up.
    """
    largest = min(size)
    smallest = min(largest, max(resolution, SMALLEST_CROP * largest))
    side = round(largest * (smallest / largest) ** rng.random())
    left, top = (int(rng.integers(length - side + 1)) for length in size)
    return left, top, left + side, top + side


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(of unknown version)"
