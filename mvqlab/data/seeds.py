"""Random numbers and short names that depend on words alone, never on what was drawn before."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def generator(*words: int | str) -> np.random.Generator:
    """A generator of its own for these words, such as (seed, "train", index); neighbours are unrelated."""
    return np.random.Generator(np.random.PCG64(_number(words)))


def seed_of(*words: int | str) -> int:
    """A seed for torch's generators, fixed for these words."""
    return _number(words) % 2**63


def share_of(*words: int | str) -> float:
    """A number in [0, 1) that is fixed for these words and looks uniform over many."""
    return _number(words) / 2**64


def places_drawn(total: int, at_most: int, seed: int, split: str) -> np.ndarray:
    """Which of `total` pictures a split takes, all or `at_most`, shuffled by the seed.

    A smaller draw is the beginning of every larger one.
    """
    return generator(seed, split, "drawn").permutation(total)[:at_most]


def short_hash(*words: object) -> str:
    """Twelve hexadecimal digits that name these words, the same on every machine."""
    return blake2b(repr(words).encode(), digest_size=6).hexdigest()


def _number(words: tuple[int | str, ...]) -> int:
    return int.from_bytes(blake2b(repr(words).encode(), digest_size=8).digest(), "little")
