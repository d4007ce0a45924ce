"""Quantising without a codebook: the signs of a few numbers a feature (LFQ).

    y = A z + a                    log2 K numbers
    y -> sign y                    with a straight-through gradient
    e = B y + b
    loss = 0.1 (mean entropy of a feature's code - entropy of the codes' mean use) + beta |y - sg(sign y)|^2

A code is the signs read as a binary number, the first the highest digit. The entropies are of a softmax over
distances, see the paper. Source: Yu et al. 2023 (MAGVIT-v2), arXiv 2310.05737. A, a, B, b fit it to n_z.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvqlab.config import QuantizerConfig
from mvqlab.models.quantizer import Quantised, Quantizer, in_float32
from mvqlab.support.optional import required

ENTROPY_WEIGHT = 0.1


class LookupFreeQuantizer(Quantizer):
    """Features to their signs; nothing but the two linear maps is learned."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        package = required("vector_quantize_pytorch", "rivals", "quantizer.kind=lfq")
        self.rule = package.LFQ(
            codebook_size=config.codebook_size,
            dim=config.code_dim,
            entropy_loss_weight=ENTROPY_WEIGHT,
            commitment_loss_weight=config.commitment_weight,
        )

    @property
    def size(self) -> int:
        """K, a power of two."""
        return int(self.rule.codebook_size)

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index: their rank is at most log2 K, and one."""
        return self.look_up(torch.arange(self.size, device=self.rule.mask.device))

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes whose signs `features` have."""
        with torch.no_grad(), in_float32(features):
            is_positive = self.rule.project_in(features.float()) > 0.0  # (..., log2 K)
            return (is_positive * self.rule.mask).sum(dim=-1)  # (..., log2 K) -> (...)

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        vectors = self.rule.indices_to_codes(codes.reshape(-1))  # (...) -> (M,) -> (M, n_z)
        return vectors.reshape(*codes.shape, vectors.shape[-1])  # (M, n_z) -> (..., n_z)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        rows = features.reshape(1, -1, features.shape[-1])  # (..., n_z) -> (1, M, n_z)
        with in_float32(features):
            quantised, codes, loss = self.rule(rows.float())
        return Quantised(
            quantised.to(features.dtype).reshape(features.shape),
            codes.long().reshape(features.shape[:-1]),
            loss.reshape(()),
        )
