"""A codebook that nobody leaves behind: frozen codes, moved all together by one learned matrix (SimVQ).

    e_k = W c_k            c_k drawn once and kept, W learned
    loss = |sg(z) - e|^2 + beta |z - sg(e)|^2

A code that is not chosen moves with those that are, so none has to be redrawn.
Source: Zhu et al. 2024, arXiv 2411.02038, with the straight-through gradient of the paper.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mvqlab.config import QuantizerConfig
from mvqlab.models.quantizer import Quantised, Quantizer, in_float32, nearest_codes
from mvqlab.support.optional import required


class FrozenCodebookQuantizer(Quantizer):
    """Features to the nearest of K codes W c_k; W learns by the loss."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        package = required("vector_quantize_pytorch", "rivals", "quantizer.kind=simvq")
        self.rule = package.SimVQ(
            dim=config.code_dim,
            codebook_size=config.codebook_size,
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=config.commitment_weight,
        )

    @property
    def size(self) -> int:
        """K."""
        return int(self.rule.codebook_size)

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """W c_k for all k."""
        return self.rule.codebook

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes nearest to `features`."""
        flat = features.detach().reshape(-1, features.shape[-1])  # (..., n_z) -> (M, n_z)
        return nearest_codes(flat, self.codes.detach()).reshape(features.shape[:-1])  # (M,) -> (...)

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        return F.embedding(codes, self.codes)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        rows = features.reshape(1, -1, features.shape[-1])  # (..., n_z) -> (1, M, n_z)
        with in_float32(features):
            quantised, codes, loss = self.rule(rows.float())
        return Quantised(
            quantised.to(features.dtype).reshape(features.shape), codes.reshape(features.shape[:-1]), loss
        )
