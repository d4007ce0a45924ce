"""How many directions features take up: a distance between sets of them hangs on no more."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_dimension(features: Tensor) -> float:
    """exp of the entropy of the covariance's eigenvalues, as shares of their sum (Roy and Vetterli 2007).

    1 where `features` (n, F) lie on a line, F where all directions vary alike. Raises ValueError where
    nothing varies.
    """
    centred = (features - features.mean(dim=0)).double()
    variances = torch.linalg.svdvals(centred).square()
    if not variances.sum() > 0.0:
        raise ValueError("features that are all the same have no dimension")
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())
