"""Quantising without a codebook: a few numbers a feature, each rounded to one of a few levels (FSQ).

    y = A z + a                    d numbers, one for each entry of `levels`
    y_i -> one of L_i even steps   by tanh and rounding, with a straight-through gradient
    e = B y + b

A code is the tuple of steps, of which there are K = L_1 ... L_d, numbered with the first running fastest.
Every code is there from the start, so none has to be redrawn, and there is no loss.
Source: Mentzer et al. 2023, arXiv 2309.15505. A, a, B, b fit it to n_z dimensions.
"""

from __future__ import annotations

from mvqlab.config import QuantizerConfig
from mvqlab.models.packaged_quantizer import PackagedQuantizer


class FiniteScalarQuantizer(PackagedQuantizer):
    """Features to the nearest tuple of steps; nothing but the two linear maps is learned.

    The codes' rank is at most the number of levels.
    """

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__("fsq", "FSQ", levels=list(config.levels_in_use), dim=config.code_dim)
