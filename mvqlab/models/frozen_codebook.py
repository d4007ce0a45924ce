"""A codebook that nobody leaves behind: frozen codes, moved all together by one learned matrix (SimVQ).

    e_k = W c_k            c_k drawn once and kept, W learned
    loss = |sg(z) - e|^2 + beta |z - sg(e)|^2

A code that is not chosen moves with those that are, so none has to be redrawn.
Source: Zhu et al. 2024, arXiv 2411.02038, with the straight-through gradient of the paper.
"""

from __future__ import annotations

from mvqlab.config import QuantizerConfig
from mvqlab.models.packaged_quantizer import PackagedQuantizer


class FrozenCodebookQuantizer(PackagedQuantizer):
    """Features to the nearest of K codes W c_k; W learns by the loss."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__(
            "simvq",
            "SimVQ",
            dim=config.code_dim,
            codebook_size=config.codebook_size,
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=config.commitment_weight,
        )
