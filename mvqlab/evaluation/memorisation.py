"""Are generated images copies? Each one's nearest training image, and how near real images come.

Being near to a training image is no sign by itself: real images are, too. So the nearest distances of
held-out images say what is usual, and a generated image that lies nearer than all but the nearest
hundredth of them is suspected. Of honest images about one in a hundred is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mvqlab.evaluation.precision_recall import distances

USUAL = 0.01  # share of held-out images that lie nearer to a training image than what is suspected


class Nearest(NamedTuple):
    """Of each row the nearest other row: its distance (m,) and its number (m,)."""

    distance: Tensor
    index: Tensor


class Memorisation(NamedTuple):
    """The nearest training image of each generated one, and what that says.

    nearest: distances and numbers of training images. threshold: the distance under which an image is
    suspected. suspected_share: share of generated images under it; 0.01 is what real images have. nearness
    (m,): share of held-out images that lie nearer to a training image than the generated one, 0 to 1; near
    0 is suspicious.
    """

    nearest: Nearest
    threshold: float
    suspected_share: float
    nearness: Tensor


def nearest_rows(rows: Tensor, among: Tensor, batch_size: int = 4096) -> Nearest:
    """The nearest of `among` (n, F) for each of `rows` (m, F), held against `batch_size` at a time."""
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
    """Hold features of generated images (m, F) against those of training (n, F) and held-out ones (h, F)."""
    nearest = nearest_rows(generated, training)
    usual = nearest_rows(held_out, training).distance.sort().values
    threshold = float(torch.quantile(usual, USUAL))
    return Memorisation(
        nearest=nearest,
        threshold=threshold,
        suspected_share=float((nearest.distance < threshold).double().mean()),
        nearness=torch.searchsorted(usual, nearest.distance) / len(usual),
    )
