"""Are generated images copies? Each one's nearest training image, and how near real images come.

Being near to a training image is no sign by itself: real images are, too. So the nearest distances of
held-out images say what is usual, and a generated image that lies nearer than all but the nearest
hundredth of them is suspected. Of honest images about one in a hundred is (1.2 % with 512 held-out ones).

Where training images are mirrored at random, mirrored copies are found only if mirrored training images are
among those that are searched.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mvqlab.evaluation.intervals import Interval, bootstrap_interval
from mvqlab.evaluation.samples.precision_recall import distances
from mvqlab.support.finite import check_finite

USUAL = 0.01  # share of held-out images that lie nearer to a training image than what is suspected


class Nearest(NamedTuple):
    """Of each row the nearest other row: its distance (m,) and its number (m,)."""

    distance: Tensor
    index: Tensor  # type: ignore[assignment]  # a tuple has a method of that name


class Memorisation(NamedTuple):
    """The nearest training image of each generated one, and what that says.

    nearest: distances and numbers of training images. usual (h,): the nearest distances of held-out images,
    rising. threshold: the distance under which an image is suspected. suspected_share: share of generated
    images under it; about 0.01 is what real images have. nearness (m,): share of held-out images that lie
    nearer to a training image than the generated one, 0 to 1; near 0 is suspicious.
    """

    nearest: Nearest
    usual: Tensor
    threshold: float
    suspected_share: float
    nearness: Tensor


def nearest_rows(rows: Tensor, among: Tensor, batch_size: int = 4096) -> Nearest:
    """The nearest of `among` (n, F) for each of `rows` (m, F), in blocks of `batch_size` by `batch_size`."""
    blocks = [_nearest_of_block(block, among, batch_size) for block in rows.split(batch_size)]
    return Nearest(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _nearest_of_block(rows: Tensor, among: Tensor, batch_size: int) -> Nearest:
    best = Nearest(torch.full((len(rows),), torch.inf, dtype=rows.dtype), torch.zeros(len(rows)).long())
    for first in range(0, len(among), batch_size):
        found = distances(rows, among[first : first + batch_size]).min(dim=1)
        is_nearer = found.values < best.distance
        best = Nearest(
            torch.where(is_nearer, found.values, best.distance),
            torch.where(is_nearer, found.indices + first, best.index),
        )
    return best


def memorisation(generated: Tensor, training: Tensor, held_out: Tensor) -> Memorisation:
    """Hold features of generated images (m, F) against those of training (n, F) and held-out ones (h, F).

    Raises ValueError if one of the sets is empty, NonFiniteError.
    """
    sets = {"generated": generated, "training": training, "held-out": held_out}
    empty = [name for name, rows in sets.items() if not len(rows)]
    if empty:
        raise ValueError(
            f"memorisation needs images of all three kinds, got no {' and no '.join(empty)} ones"
        )
    for name, rows in sets.items():
        check_finite(f"features of {name} images", rows)
    nearest = nearest_rows(generated, training)
    usual = nearest_rows(held_out, training).distance.sort().values
    return Memorisation(
        nearest=nearest,
        usual=usual,
        threshold=_threshold(usual),
        suspected_share=_suspected_share(nearest.distance, usual),
        nearness=torch.searchsorted(usual, nearest.distance) / len(usual),
    )


def suspected_interval(found: Memorisation, resamples: int, seed: int = 0) -> Interval:
    """`suspected_share` with its 95 % interval, over redrawn generated and held-out images.

    Both are redrawn since the threshold is itself uncertain: with it taken as exact, 84 % of the intervals
    of honest images would hold the true share instead of 95 %. It is never narrower than the exact interval
    of the count.
    """
    distance = found.nearest.distance
    drawn = bootstrap_interval(_suspected_share, (distance, found.usual), resamples, seed)
    return drawn.of_share(len(distance))


def _suspected_share(distance: Tensor, usual: Tensor) -> float:
    return float((distance < _threshold(usual)).double().mean())


def _threshold(usual: Tensor) -> float:
    return float(torch.quantile(usual, USUAL))
