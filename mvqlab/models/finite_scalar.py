"""Quantising without a codebook: a few numbers a feature, each rounded to one of a few levels (FSQ).

    y = A z + a                    d numbers, one for each entry of `levels`
    y_i -> one of L_i even steps   by tanh and rounding, with a straight-through gradient
    e = B y + b

A code is the tuple of steps, of which there are K = L_1 ... L_d, numbered with the first running fastest.
Every code is there from the start, so none has to be redrawn, and there is no loss.
Source: Mentzer et al. 2023, arXiv 2309.15505. A, a, B, b fit it to n_z dimensions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvqlab.config import QuantizerConfig
from mvqlab.models.quantizer import Quantised, Quantizer, in_float32
from mvqlab.support.optional import required


class FiniteScalarQuantizer(Quantizer):
    """Features to the nearest tuple of steps; nothing but the two linear maps is learned."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        package = required("vector_quantize_pytorch", "rivals", "quantizer.kind=fsq")
        self.rule = package.FSQ(levels=list(config.levels_in_use), dim=config.code_dim)

    @property
    def size(self) -> int:
        """K, the product of the levels."""
        return int(self.rule.codebook_size)

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index: their rank is at most the number of levels, and one."""
        return self.look_up(torch.arange(self.size, device=self.rule._levels.device))

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes that `features` are rounded to."""
        return self.quantise(features.detach()).codes

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        vectors = self.rule.indices_to_codes(codes.reshape(-1))  # (...) -> (M,) -> (M, n_z)
        return vectors.reshape(*codes.shape, vectors.shape[-1])  # (M, n_z) -> (..., n_z)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        rows = features.reshape(1, -1, features.shape[-1])  # (..., n_z) -> (1, M, n_z)
        with in_float32(features):
            quantised, codes = self.rule(rows.float())
        return Quantised(
            quantised.to(features.dtype).reshape(features.shape),
            codes.long().reshape(features.shape[:-1]),
            features.new_zeros(()),
        )
