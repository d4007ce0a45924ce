"""Which of several models are worth having: those that no other beats in everything (the Pareto front)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def on_front(costs: ArrayLike) -> NDArray[np.bool_]:
    """(n,) True where no other row of `costs` (n, m), lower is better, is as low everywhere and lower once.

    What is better when high goes in with its sign turned. Equal rows do not beat each other. Raises
    ValueError for a missing number, which nothing could be compared with.
    """
    costs = np.asarray(costs, dtype=float)
    if np.isnan(costs).any():
        raise ValueError("a cost is missing (nan): leave its row out")
    as_low = np.all(costs[:, None, :] >= costs[None, :, :], axis=2)  # (i, j): j is nowhere worse than i
    lower = np.any(costs[:, None, :] > costs[None, :, :], axis=2)
    return ~np.any(as_low & lower, axis=1)
