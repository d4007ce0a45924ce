"""A gradient for quantisers that turns with the feature: the rotation trick.

Forwards a feature z becomes its code e. Backwards the straight-through gradient passes the gradient at e to z
as it is, wherever in its cell z lies. Here e is written as a rotation R and a stretch of z, both held fixed,

    e = |e| / |z| R z          so that          dL/dz = |e| / |z| R^T dL/de

and the gradient keeps its angle to the feature. Source: Fifty et al. 2024, arXiv 2410.06424, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from mvqlab.models.codebook import in_float32
from mvqlab.models.quantizer import VectorQuantizer
from mvqlab.support.optional import required

if TYPE_CHECKING:
    from mvqlab.config import QuantizerConfig


class RotationQuantizer(VectorQuantizer):
    """`VectorQuantizer` whose gradient is rotated; codebook, restarts and codes are the same."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__(config)
        module = required(
            "vector_quantize_pytorch.vector_quantize_pytorch", "rivals", "quantizer.kind=rotation"
        )
        self.rotate_to = module.rotate_to

    def gradient(
        self, features: Float[Tensor, "*any n_z"], quantised: Float[Tensor, "*any n_z"]
    ) -> Float[Tensor, "*any n_z"]:
        """`quantised`, whose gradient turns on its way to `features`; in float32 whatever autocast does."""
        with in_float32(features):
            return self.rotate_to(features.float(), quantised.float()).to(features.dtype)
