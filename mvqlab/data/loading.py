"""Batches that depend on the seed alone: not on the number of loader processes, nor on where one starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader

from mvqlab.data.dataset import Batch, DataError, PictureDataset, collate
from mvqlab.data.seeds import generator


def batches(
    dataset: PictureDataset,
    batch_size: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Training batches without end, shuffled anew every epoch, from batch number `start` on.

    Batch n is a pure function of (dataset, batch_size, seed, n). Epochs follow each other without a
    gap, so every batch is full, and within an epoch each picture comes once. Of `world` processes that
    train together, number `rank` gets its share of the batch of `world * batch_size` pictures that one
    process would have got.

    Raises DataError where there is nothing to draw from.
    """
    if len(dataset) == 0:
        raise DataError("the training split holds no images, so no batch can be drawn from it")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    whole, mine = batch_size * world, slice(rank * batch_size, (rank + 1) * batch_size)

    def indices(n: int) -> list[int]:
        return batch_indices(len(dataset), whole, seed, n)[mine]

    loaded = _load(dataset, map(indices, count(start)), workers)
    if not dataset.flip:
        return loaded
    mirrors = (mirrored_rows(whole, seed, n)[mine] & dataset.may_mirror(indices(n)) for n in count(start))
    return (batch.mirrored(torch.from_numpy(rows)) for batch, rows in zip(loaded, mirrors, strict=False))


def batches_in_order(
    dataset: PictureDataset, batch_size: int, limit: int | None = None, workers: int = 0
) -> Iterator[Batch]:
    """One pass in the data set's order over its first `limit` images (all by default), never mirrored.

    The last batch may be short.
    """
    size = len(dataset) if limit is None else min(limit, len(dataset))
    numbers = (list(range(first, min(first + batch_size, size))) for first in range(0, size, batch_size))
    return _load(dataset, numbers, workers)


def batch_indices(size: int, batch_size: int, seed: int, n: int) -> list[int]:
    """Which of `size` pictures make up training batch `n`."""
    places = range(n * batch_size, (n + 1) * batch_size)
    return [int(_permutation(size, seed, place // size)[place % size]) for place in places]


def mirrored_rows(batch_size: int, seed: int, n: int) -> np.ndarray:
    """(batch_size,) bool: which pictures of training batch `n` are mirrored, about one in two."""
    return generator(seed, "mirror", n).random(batch_size) < 0.5


@lru_cache(maxsize=4)  # a batch may need the end of one epoch and the beginning of the next
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(size)


def _load(dataset: PictureDataset, numbers: Iterable[list[int]], workers: int) -> Iterator[Batch]:
    # a generator of its own: the loader draws a seed when it starts, which must not move the global one
    own = torch.Generator().manual_seed(0)
    loader = DataLoader(
        dataset,
        batch_sampler=numbers,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=own,
    )
    return iter(loader)
