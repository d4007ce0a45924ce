"""NaN and infinities stop where they are first seen: no figure, picture or table is made of them.

A comparison with NaN is never true, so what sorts, clips or takes the larger of two turns it into an ordinary
number: `max(0.0, nan)` is a perfect FID, and a NaN pixel rounds to black.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class NonFiniteError(ValueError):
    """Numbers that something is to be computed of are NaN or infinite. The message says which and where."""


def check_finite(what: str, values: Tensor | NDArray[np.generic]) -> None:
    """Raise NonFiniteError, naming `what` they are, if one of `values` (any shape) is NaN or infinite."""
    values = torch.as_tensor(values)
    if values.is_floating_point() and not values.isfinite().all():
        is_bad = ~values.isfinite()
        first = is_bad.nonzero()[0].tolist()
        raise NonFiniteError(
            f"{what}: {int(is_bad.sum())} of {values.numel()} numbers are NaN or infinite, the first "
            f"{values[tuple(first)].item()} at {first} of {list(values.shape)}. Whatever made them is at "
            "fault: a training that diverged, damaged weights or a damaged file"
        )
