"""Density and coverage of generated images, apart (Naeem et al. 2020, equations 5 and 6).

Precision and recall take a set for the union of balls around its features, and one outlier among the real
images makes a ball in which anything counts as plausible. Here the balls of the real images alone count:

    density    how many of these balls a generated feature lies in, as a share of the k that are usual
    coverage   share of these balls that hold a generated feature at all
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mvqlab.evaluation.samples.precision_recall import distances, in_balls
from mvqlab.support.finite import check_finite


class InBalls(NamedTuple):
    """Rows whose mean is the figure: density (m,), of generated images, and coverage (n,), of real ones."""

    density: Tensor
    coverage: Tensor


def density_coverage(real: Tensor, generated: Tensor, k: int = 5) -> InBalls:
    """Density and coverage of `generated` (m, F) against `real` features (n, F), each row's share.

    Their means are the two figures: density is 1 for images like the real ones and may be more, coverage
    lies between 0 and 1; both depend on n, m and `k` (the authors: 10,000 each and 5). Raises ValueError
    unless there are more than `k` real rows, NonFiniteError.
    """
    check_finite("features of real images", real)
    check_finite("features of generated images", generated)
    return share_of_balls(in_balls(distances(generated, real), distances(real, real), k), k)


def share_of_balls(is_inside: Tensor, k: int) -> InBalls:
    """The same from which generated images lie in which balls of real ones, (m, n) bool."""
    return InBalls(is_inside.double().sum(dim=1) / k, is_inside.any(dim=0).double())
