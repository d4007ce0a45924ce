"""What every data set hands out: a picture with what is known about it, and batches of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mvqlab.data.pixels import from_uint8

REMEMBERED_BYTES = 512 * 2**20  # a split whose pixels fit in here is drawn or decoded only once


class DataError(ValueError):
    """The data cannot be used as asked. The message says what is wrong, where, and what to do."""


class DataWarning(UserWarning):
    """Some of the data are left out, or say less than they might. The message says what and how much."""


def some_of(words: list[str], between: str = "\n", at_most: int = 20) -> str:
    """The first words for an error message, and how many more there are."""
    more = [f"... and {len(words) - at_most} more"] if len(words) > at_most else []
    return between.join(words[:at_most] + more)


class Sample(TypedDict):
    """One item of a data set, as tensors."""

    image: Tensor  # (3, H, W) float32 in [-1, 1]
    label: int  # -1 where there is none
    caption: str  # "" where there is none
    importance: Tensor | None  # (H, W) float32, 1 on object pixels and 0 elsewhere; None where unknown


class Picture(NamedTuple):
    """One item as it is kept in memory."""

    pixels: np.ndarray  # (3, H, W) uint8
    label: int = -1
    caption: str = ""
    is_object: np.ndarray | None = None  # (H, W) bool


class PictureDataset(Dataset[Sample]):
    """A map-style data set of square pictures, each a pure function of its index.

    A subclass says how long it is and how a picture is made; pictures are remembered where the whole
    split is small. `flip` tells the loader that training images may be mirrored.
    """

    def __init__(self, size: int, resolution: int, flip: bool = False) -> None:
        self.size, self.resolution, self.flip = size, resolution, flip
        self._remembers = True
        self._memory = _Memory(size, resolution)
        self.keep_within(REMEMBERED_BYTES)

    def picture(self, index: int) -> Picture:
        """Make picture number `index`, 0 <= index < len(self)."""
        raise NotImplementedError

    def caption(self, index: int) -> str:
        """The caption of picture `index`, "" where there is none."""
        return self.picture(index).caption

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        """Item `index`; negative ones count from the end. Raises IndexError."""
        if not -self.size <= index < self.size:
            raise IndexError(f"there is no item {index} in a data set of {self.size}")
        picture = self.remembered(index % self.size)
        importance = None
        if picture.is_object is not None:
            importance = torch.from_numpy(picture.is_object).float()
        return Sample(
            image=from_uint8(torch.from_numpy(picture.pixels)),
            label=picture.label,
            caption=picture.caption,
            importance=importance,
        )

    def may_mirror(self, indices: list[int]) -> np.ndarray:
        """(n,) bool: which of the pictures at `indices` may be mirrored in training."""
        return np.full(len(indices), self.flip)

    def keep_within(self, n_bytes: int) -> int:
        """Remember pictures only if their pixels fit in `n_bytes`; returns how many they may take."""
        needed = self.size * 3 * self.resolution**2
        self._remembers = self._remembers and needed <= n_bytes
        return needed if self._remembers else 0

    def remembered(self, index: int) -> Picture:
        """Picture `index`, made anew only if it is not in memory; not to be written into."""
        if not self._remembers:
            return self.picture(index)
        picture = self._memory.get(index)
        if picture is None:
            picture = self.picture(index)
            self._memory.put(index, picture)
        return picture


class _Memory:
    """Pictures that were made once.

    They lie in one block: 160,000 pictures of 32 pixels that lay wherever there was room took 1.7 GiB, in
    a block they take 0.5. A mask has eight pixels a byte.
    """

    def __init__(self, size: int, resolution: int) -> None:
        self.size, self.shape = size, (resolution, resolution)
        self.pixels = self.masks = np.empty(0, np.uint8)  # there is no block before the first picture
        self.known: dict[int, tuple[int, str, bool]] = {}  # label, caption, whether there is a mask

    def __reduce__(self) -> tuple[type[_Memory], tuple[int, int]]:
        # a loader process that is not forked gets the recipe, not hundreds of megabytes of pictures
        return _Memory, (self.size, self.shape[0])

    def put(self, index: int, picture: Picture) -> None:
        if not self.known:
            self.pixels = np.empty((self.size, 3, *self.shape), np.uint8)
            self.masks = np.empty((self.size, -(-(self.shape[0] ** 2) // 8)), np.uint8)
        self.pixels[index] = picture.pixels
        if picture.is_object is not None:
            self.masks[index] = np.packbits(picture.is_object)
        self.known[index] = picture.label, sys.intern(picture.caption), picture.is_object is not None

    def get(self, index: int) -> Picture | None:
        if index not in self.known:
            return None
        label, caption, has_mask = self.known[index]
        return Picture(self.pixels[index], label, caption, self._mask(index) if has_mask else None)

    def _mask(self, index: int) -> np.ndarray:
        return np.unpackbits(self.masks[index], count=self.shape[0] ** 2).reshape(self.shape).view(bool)


@dataclass(eq=False)  # not frozen: Fabric's mixed precision rebuilds the dataclasses that it is handed
class Batch:
    """Several samples, stacked.

    images (B, 3, H, W) float32 in [-1, 1]; labels (B,) long, -1 where there is none; captions, one a
    sample; importance (B, H, W) bool, True on object pixels, or None where it is unknown of any.
    """

    images: Tensor
    labels: Tensor
    captions: list[str]
    importance: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)  # from pinned memory, a GPU copies while it computes

        importance = None if self.importance is None else moved(self.importance)
        return Batch(moved(self.images), moved(self.labels), self.captions, importance)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the loader calls it where there is a GPU."""
        importance = None if self.importance is None else self.importance.pin_memory()
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.captions, importance)

    def mirrored(self, rows: Tensor) -> Batch:
        """The batch with left and right swapped where `rows` (B,) bool is True."""
        images = torch.where(rows[:, None, None, None], self.images.flip(-1), self.images)
        importance = self.importance
        if importance is not None:
            importance = torch.where(rows[:, None, None], importance.flip(-1), importance)
        return Batch(images, self.labels, self.captions, importance)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one data set. Where any has no mask, the batch has none: a model takes all or none."""
    masks = [sample["importance"] for sample in samples if sample["importance"] is not None]
    return Batch(
        images=torch.stack([sample["image"] for sample in samples]),
        labels=torch.tensor([sample["label"] for sample in samples]),
        captions=[sample["caption"] for sample in samples],
        importance=torch.stack(masks).bool() if len(masks) == len(samples) else None,
    )


def joined(batches: list[Batch]) -> Batch:
    """All `batches` as one. Where any has no masks, it has none: a model takes all or none."""
    masks = [batch.importance for batch in batches if batch.importance is not None]
    return Batch(
        images=torch.cat([batch.images for batch in batches]),
        labels=torch.cat([batch.labels for batch in batches]),
        captions=[caption for batch in batches for caption in batch.captions],
        importance=torch.cat(masks) if len(masks) == len(batches) else None,
    )


@dataclass(eq=False)
class Splits:
    """The training and the held-out pictures of a run, and what their labels are.

    label_meaning says what a label tells apart ("object class", "source photograph", "folder"), and is
    "" where there are none. data_hash names all that defines the pictures. skipped lists the bad files
    that were left out, each with its fault; n_ignored counts the files that are not images by name.
    credit is the line that pictures of these data are shown with, "" where nobody has to be named.
    """

    train: PictureDataset
    validation: PictureDataset
    class_names: list[str]
    label_meaning: str
    data_hash: str
    skipped: list[str] = field(default_factory=list)
    n_ignored: int = 0
    credit: str = ""

    @property
    def n_classes(self) -> int:
        """Labels run from 0 to n_classes - 1; 0 where there are none."""
        return len(self.class_names)
