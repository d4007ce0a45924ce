"""Density and coverage of generated images, apart (Naeem et al. 2020, equations 5 and 6).

Precision and recall take a set for the union of balls around its features, and one outlier among the real
images makes a ball in which anything counts as plausible. Here the balls of the real images alone count:

    density    how many of these balls a generated feature lies in, as a share of the k that are usual
    coverage   share of these balls that hold a generated feature at all
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class InBalls(NamedTuple):
    """Rows whose mean is the figure: density (m,), of generated images, and coverage (n,), of real ones."""

    density: Tensor
    coverage: Tensor


def share_of_balls(is_inside: Tensor, k: int) -> InBalls:
    """Each row's share, from which generated images lie in which balls of real ones, (m, n) bool.

    A ball reaches to its centre's `k`-th nearest other one, see `in_balls`. Density is 1 on average for
    images like the real ones and may be more, coverage lies between 0 and 1; both depend on n, m and `k`
    (the authors: 10,000 each and 5).
    """
    return InBalls(is_inside.double().sum(dim=1) / k, is_inside.any(dim=0).double())
