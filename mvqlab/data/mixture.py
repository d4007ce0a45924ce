"""One set made of several, in the shares that `data.mixture` gives.

A picture's number decides by itself which source it is from, so that any first part of the set has about the
given shares, too. A source with fewer pictures than its share shows them again, one round after the other.
A label says which source a picture is from; captions and masks are the source's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mvqlab.config import MIXED_NAMES, DataConfig
from mvqlab.data import dataset
from mvqlab.data.dataset import Picture, PictureDataset, Splits
from mvqlab.data.seeds import short_hash

MIXING_VERSION = 1  # raise it when the same index would come from elsewhere

BuildSplits = Callable[[DataConfig], Splits]


class Turns(NamedTuple):
    """Whose turn it is: source (n,) int, and the how manieth of that source it is, turn (n,) int."""

    source: np.ndarray
    turn: np.ndarray


class MixtureDataset(PictureDataset):
    """`size` pictures of `sources` in `shares`, which sum to 1; the label is the source's place."""

    def __init__(self, sources: list[PictureDataset], shares: list[float], size: int) -> None:
        super().__init__(size, sources[0].resolution, flip=any(source.flip for source in sources))
        self.sources, self.turns = sources, interleaved(shares, size)
        self._remembers = False  # its sources do, each picture once
        _share_memory(sources)

    def picture(self, index: int) -> Picture:
        source, place = self.origin(index)
        return self.sources[source].remembered(place)._replace(label=source)

    def caption(self, index: int) -> str:
        source, place = self.origin(index)
        return self.sources[source].caption(place)

    def may_mirror(self, indices: list[int]) -> np.ndarray:
        """(n,) bool: those whose source may be mirrored."""
        return np.array([source.flip for source in self.sources])[self.turns.source[indices]]

    def origin(self, index: int) -> tuple[int, int]:
        """Which source picture `index` is from, and its place in there."""
        source = int(self.turns.source[index])
        return source, int(self.turns.turn[index]) % len(self.sources[source])


def interleaved(shares: list[float], size: int) -> Turns:
    """Turns of sources whose `shares` sum to 1, as even as can be.

    A source with share s is due at (1/2)/s, (3/2)/s, (5/2)/s and so on, and turns come in the order in
    which they are due. So among any first n pictures a source has n s, give or take no more than there are
    sources.
    """
    numbers = [np.arange(int(size * share) + len(shares) + 1) for share in shares]  # some more than needed
    due = np.concatenate([(number + 0.5) / share for number, share in zip(numbers, shares, strict=True)])
    source = np.repeat(np.arange(len(shares)), [len(number) for number in numbers])
    order = np.argsort(due, kind="stable")[:size]
    return Turns(source[order], np.concatenate(numbers)[order])


def mixture_splits(config: DataConfig, build: BuildSplits) -> Splits:
    """Training and held-out pictures of the sources that `config.mixture` names, each made by `build`.

    Raises DataError where a source cannot be used.
    """
    shares = _normalised(config.mixture)
    sizes = (config.train_size, config.validation_size)
    needed = [_needed(list(shares.values()), size) for size in sizes]
    parts = {
        name: build(_source_config(config, name, *counts))
        for name, *counts in zip(shares, *needed, strict=True)
    }

    def mixed(sources: list[PictureDataset], size: int) -> MixtureDataset:
        return MixtureDataset(sources, list(shares.values()), size)

    hashed = [(name, share, parts[name].data_hash) for name, share in shares.items()]
    return Splits(
        train=mixed([part.train for part in parts.values()], config.train_size),
        validation=mixed([part.validation for part in parts.values()], config.validation_size),
        class_names=list(shares),
        label_meaning="source",
        data_hash=short_hash("mixture", MIXING_VERSION, sizes, hashed),
        skipped=[fault for part in parts.values() for fault in part.skipped],
        n_ignored=sum(part.n_ignored for part in parts.values()),
        credit=". ".join(dict.fromkeys(part.credit for part in parts.values() if part.credit)),
    )


def _normalised(mixture: Mapping[str, float]) -> dict[str, float]:
    """Shares that sum to 1, in the order of `MIXED_NAMES`: nothing hangs on how they are written down."""
    total = sum(mixture[name] for name in MIXED_NAMES if name in mixture)
    # rounded, as 3 of 10 and 0.3 of 1 may differ in the last bit, which decides when two turns coincide
    return {name: max(1e-12, round(mixture[name] / total, 12)) for name in MIXED_NAMES if name in mixture}


def _needed(shares: list[float], size: int) -> list[int]:
    """How many pictures of each source come up; one, where it has no turn in so small a set."""
    counts = np.bincount(interleaved(shares, size).source, minlength=len(shares))
    return [max(1, int(count)) for count in counts]


def _source_config(config: DataConfig, name: str, train_size: int, validation_size: int) -> DataConfig:
    """The settings of the source `name` alone."""
    changes = {"mixture": {}, "train_size": train_size, "validation_size": validation_size}
    if name == "simple":
        return config.model_copy(update={**changes, "name": "shapes", "scene": "simple"})
    return config.model_copy(update={**changes, "name": name})


def _share_memory(sources: list[PictureDataset]) -> None:
    """Let sources remember, the smallest first, as long as all fit into what one set may take."""
    left = dataset.REMEMBERED_BYTES
    for source in sorted(sources, key=len):
        left -= source.keep_within(left)
