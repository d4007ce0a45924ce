"""NaN and infinities stop where they are first seen: no figure, picture or table is made of them.

A comparison with NaN is never true, so what sorts, clips or takes the larger of two turns it into an ordinary
number: `max(0.0, nan)` is a perfect FID, and a NaN pixel rounds to black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


class NonFiniteError(ValueError):
    """Numbers that something is to be computed of are NaN or infinite. The message says which and where."""


def check_finite(what: str, values: Tensor | NDArray[np.generic]) -> None:
    """Raise NonFiniteError, naming `what` they are, if one of `values` (any shape) is NaN or infinite."""
    # torch is not imported here: who only loads pictures does without it
    if isinstance(values, np.ndarray | np.generic):
        is_bad = np.asarray(~np.isfinite(values))
    else:
        is_bad = (~values.isfinite()).cpu().numpy()
    if is_bad.any():
        first = np.argwhere(is_bad)[0].tolist()
        raise NonFiniteError(
            f"{what}: {int(is_bad.sum())} of {is_bad.size} numbers are NaN or infinite, the first "
            f"{values[tuple(first)].item()} at {first} of {list(values.shape)}. Whatever made them is at "
            "fault: a training that diverged, damaged weights or a damaged file"
        )
