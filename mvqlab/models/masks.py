"""The mask modules by their settings: what chooses the regions, and how many of each image.

A choice that learns nothing is a scorer (models/scorers.py); a learned one, and what changes around it, is a
class.
"""

from __future__ import annotations

import math

from mvqlab.config import BackboneConfig, MaskConfig
from mvqlab.config.own_arms import is_own_mask, own_builders
from mvqlab.models.budgets import PrefixMask, ThresholdMask
from mvqlab.models.dual_grain import DualGrainMask
from mvqlab.models.mask_controls import ProductMask, UpsideDownMask
from mvqlab.models.masking import AdaptiveMask, MaskModule, n_kept
from mvqlab.models.scorers import build_learned_scorer, unlearned_scorer

LEARNED_MASKS: dict[str, type[AdaptiveMask]] = {"adaptive": AdaptiveMask, "upside_down": UpsideDownMask}
OF_BUDGETS: dict[str, type[AdaptiveMask]] = {"threshold": ThresholdMask, "prefix": PrefixMask}


def build_mask(config: MaskConfig, backbone: BackboneConfig, code_dim: int, n_positions: int) -> MaskModule:
    """The mask module that `config.kind` names, for a grid of L = `n_positions` regions.

    Raises ValueError for the plain model, which has none.
    """
    if config.kind == "none":
        raise ValueError("mask.kind 'none' is the plain VQ model, which has no mask module")
    n = n_kept(config.ratio_in_use, n_positions)
    least_dropped, most_dropped = config.ratio_range  # in training
    n_in_training = (n_kept(most_dropped, n_positions), n_kept(least_dropped, n_positions))
    d = backbone.feature_dim
    if config.kind == "dual_grain":
        router, side = build_learned_scorer(config, 2 * d), math.isqrt(n_positions)
        return DualGrainMask(d, code_dim, n, router, n_in_training, config, side=side)
    if is_own_mask(config.kind):
        build = own_builders("mask.kind")[config.kind]
        return build(d, code_dim, n, build_learned_scorer(config, d), n_in_training, config)
    if config.kind not in LEARNED_MASKS:
        chooses = unlearned_scorer(config.kind)
        if config.product_in_use == "none":
            return MaskModule(d, code_dim, n, chooses, n_in_training, config)
        return ProductMask(d, code_dim, n, chooses, build_learned_scorer(config, d), n_in_training, config)
    mask_class = OF_BUDGETS.get(config.budget, LEARNED_MASKS[config.kind])
    return mask_class(d, code_dim, n, build_learned_scorer(config, d), n_in_training, config)
