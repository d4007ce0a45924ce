"""Precision and recall of generated images, apart (Kynkäänniemi et al. 2019, equations 1 and 2).

FID is one number for two faults: images that look like nothing real, and real kinds of images that never
come. Here a set of images is taken for the union of balls around its features, each as large as the
distance to the k-th nearest neighbour in its own set:

    precision   share of the generated features that lie in the real union: how many are plausible
    recall      share of the real features that lie in the generated union: how much is covered
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mvqlab.support.finite import check_finite


class PrecisionRecall(NamedTuple):
    """Both are shares, 0 to 1, higher is better."""

    precision: float
    recall: float


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall of `generated` (m, F) against `real` features (n, F); see `features_of`.

    Both depend on how many features there are and on `k` (the authors: 50,000 and 3): compare only
    figures from the same n, m, k and extractor. Two sets of real images do not reach 1 either.
    Raises ValueError unless both sets have more than `k` rows, NonFiniteError.
    """
    check_finite("features of real images", real)
    check_finite("features of generated images", generated)
    return PrecisionRecall(
        precision=float(lies_within(generated, real, k).double().mean()),
        recall=float(lies_within(real, generated, k).double().mean()),
    )


def lies_within(points: Tensor, of: Tensor, k: int = 3) -> Tensor:
    """(m,) bool: which `points` (m, F) lie in the ball of at least one row of `of` (n, F)."""
    return in_balls(distances(points, of), distances(of, of), k).any(dim=1)


def neighbour_radii(features: Tensor, k: int = 3) -> Tensor:
    """Distance (n,) of each of `features` (n, F) to its k-th nearest other one.

    Raises ValueError unless there are more than `k`.
    """
    return _radii(distances(features, features), k)


def in_balls(to: Tensor, within: Tensor, k: int) -> Tensor:
    """(m, n) bool: which points lie in which balls, from distances `to` centres (m, n) and `within` (n, n).

    A ball reaches to its centre's k-th nearest other one. Raises ValueError unless there are more than `k`.
    """
    return to <= _radii(within, k)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances (m, n) between the rows of (m, F) and (n, F).

    Not by the matrix product, which rounds small distances between long vectors to anything. Raises
    NonFiniteError: nothing is nearer than NaN, so that neighbours would be any rows.
    """
    check_finite("features", first)
    check_finite("features", second)
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(within: Tensor, k: int) -> Tensor:
    if not 0 < k < len(within):
        raise ValueError(f"the neighbour number {k} of {len(within)} features does not exist")
    return within.kthvalue(k + 1, dim=1).values  # the nearest is the row itself
