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
from mvqlab.models.codebook import in_float32
from mvqlab.models.packaged_quantizer import PackagedQuantizer

ENTROPY_WEIGHT = 0.1


class LookupFreeQuantizer(PackagedQuantizer):
    """Features to their signs; nothing but the two linear maps is learned.

    The codes' rank is at most log2 K. The package gives no loss outside training: held-out images have 0.
    """

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__(
            "lfq",
            "LFQ",
            codebook_size=config.codebook_size,
            dim=config.code_dim,
            entropy_loss_weight=ENTROPY_WEIGHT,
            commitment_loss_weight=config.commitment_weight,
        )

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes whose signs `features` have, without the entropies that training needs."""
        with torch.no_grad(), in_float32(features):
            is_positive = self.rule.project_in(features.float()) > 0.0  # (..., log2 K)
            return (is_positive * self.rule.mask).sum(dim=-1)  # (..., log2 K) -> (...)
