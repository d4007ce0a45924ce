"""What a scorer may look at besides features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class MaskContext(NamedTuple):
    """What a scorer may look at besides features. A learned one needs nothing of it.

    images: in [-1, 1], for scores that are measured on the image itself.
    importance: True on the objects, for the scorers that read it (`mask.kind=truth` and `background`).
    generator: what a random choice is drawn from; torch's global one where none is given.
    """

    images: Float[Tensor, "B 3 H W"] | None = None
    importance: Bool[Tensor, "B H W"] | None = None
    generator: torch.Generator | None = None


NO_CONTEXT = MaskContext()
