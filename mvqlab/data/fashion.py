"""Fashion-MNIST: 70,000 garments in grey on black, which learn fast and whose pixels are known exactly.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", 2017; MIT licence. The images of 28 x 28 pixels stand in the middle of 32 x 32.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data.dataset import Picture, PictureDataset, Splits
from mvqlab.data.fashion_files import provide, read_whole
from mvqlab.data.fetching import data_root
from mvqlab.data.image_files import resized
from mvqlab.data.seeds import places_drawn, short_hash

CREDIT = "Images: Fashion-MNIST, (c) 2017 Zalando SE, MIT licence"
READING_VERSION = 1  # raise it when the same index would look different

CLASS_NAMES = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
]
SIDE, MARGIN = 28, 2  # pixels: of an image, and of the black around it
FULL_SIDE = SIDE + 2 * MARGIN
FAINTEST_GARMENT = 8  # greys up to here are the background's noise: specks on three pixels in a hundred
IMAGE_HEADER, LABEL_HEADER = 16, 8  # bytes before the numbers of an idx file of images, and of labels


class Garments(NamedTuple):
    """Images (N, 28, 28) uint8 and their labels (N,) uint8, as they come from the files."""

    images: np.ndarray
    labels: np.ndarray

    def some(self, places: np.ndarray) -> Garments:
        """Those at `places`, in the files' order, which mixes the kinds; for all, nothing is copied."""
        if len(places) == len(self.labels):
            return self
        places = np.sort(places)
        return Garments(self.images[places], self.labels[places])


class FashionDataset(PictureDataset):
    """Garments in grey, at the middle of a black square; label and caption say which kind it is."""

    def __init__(self, garments: Garments, resolution: int, flip: bool = False) -> None:
        super().__init__(len(garments.labels), resolution, flip)
        self.garments = garments
        if resolution == FULL_SIDE:
            self._remembers = False  # they are in memory as it is, in a quarter of the bytes

    def picture(self, index: int) -> Picture:
        grey = self.garments.images[index]
        label = int(self.garments.labels[index])
        shown, is_object = _padded(grey), _padded(garment_of(grey))
        if self.resolution != FULL_SIDE:
            shown = _resized(shown, self.resolution)
            is_object = _resized(is_object * np.uint8(255), self.resolution) >= 128
        return Picture(np.stack([shown] * 3), label, CLASS_NAMES[label], is_object)

    def caption(self, index: int) -> str:
        return CLASS_NAMES[self.garments.labels[index]]


def fashion_splits(config: DataConfig) -> Splits:
    """Training garments out of 60,000 and held-out ones out of 10,000, as many as `config` asks for at most.

    Where it asks for fewer, the seed decides which. Raises DataError where the files are missing or damaged.
    """
    root = data_root(config.root)
    provide(root, config.download)
    train, held_out = read_garments(root, "train"), read_garments(root, "t10k")
    train = train.some(places_drawn(len(train.labels), config.train_size, config.seed, "train"))
    held_out = held_out.some(
        places_drawn(len(held_out.labels), config.validation_size, config.seed, "validation")
    )
    sizes = (len(train.labels), len(held_out.labels))
    return Splits(
        train=FashionDataset(train, config.resolution, config.flip),
        validation=FashionDataset(held_out, config.resolution),
        class_names=CLASS_NAMES,
        label_meaning="garment",
        data_hash=short_hash(
            "fashion", READING_VERSION, CLASS_NAMES, config.resolution, sizes, config.flip, config.seed
        ),
        credit=CREDIT,
    )


def read_garments(root: Path, part: str) -> Garments:
    """Part "train" or "t10k" of the files below `root`, once they are found whole. Raises DataError."""
    images = read_whole(root, f"{part}-images-idx3-ubyte")
    labels = read_whole(root, f"{part}-labels-idx1-ubyte")
    return Garments(
        np.frombuffer(images, np.uint8, offset=IMAGE_HEADER).reshape(-1, SIDE, SIDE),
        np.frombuffer(labels, np.uint8, offset=LABEL_HEADER),
    )


def garment_of(grey: np.ndarray) -> np.ndarray:
    """(H, W) bool: where `grey` (H, W) uint8 shows the garment.

    That is what is brighter than the background's noise, and what has such pixels on all four sides: the
    black print of a shirt belongs to it (and so does what is seen through a bag's handle).
    """
    is_bright = grey > FAINTEST_GARMENT
    up_to = np.logical_or.accumulate
    beside = up_to(is_bright, axis=1) & up_to(is_bright[:, ::-1], axis=1)[:, ::-1]
    above_and_below = up_to(is_bright, axis=0) & up_to(is_bright[::-1], axis=0)[::-1]
    return beside & above_and_below  # bright pixels are on all four sides of themselves


def _padded(image: np.ndarray) -> np.ndarray:
    padded = np.zeros((FULL_SIDE, FULL_SIDE), image.dtype)
    padded[MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return padded


def _resized(image: np.ndarray, resolution: int) -> np.ndarray:
    return np.array(resized(Image.fromarray(image), (0, 0, FULL_SIDE, FULL_SIDE), resolution))
