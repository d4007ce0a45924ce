"""The kinds of quantisers, by the names that `quantizer.kind` gives them.

    ema        the nearest code of a moving-average codebook, straight-through gradient: the published one
    rotation   the same, with a gradient that turns as the feature is turned to its code
    simvq      the nearest code of a frozen codebook that is moved as a whole, by one learned matrix
    fsq        no codebook: a few numbers a feature, each rounded to one of a few levels
    lfq        no codebook: a few signs a feature

All but `ema` take their rule from lucidrains' vector-quantize-pytorch (see `packaged_quantizer`). One more is
an arm in a file of your own, see ablations/ARMS.md.
"""

from __future__ import annotations

from collections.abc import Callable

from mvqlab.config import QuantizerConfig
from mvqlab.config.own_arms import own_builders
from mvqlab.models.finite_scalar import FiniteScalarQuantizer
from mvqlab.models.frozen_codebook import FrozenCodebookQuantizer
from mvqlab.models.lookup_free import LookupFreeQuantizer
from mvqlab.models.quantizer import Quantizer, VectorQuantizer
from mvqlab.models.rotation import RotationQuantizer

KINDS: dict[str, Callable[[QuantizerConfig], Quantizer]] = {
    "ema": VectorQuantizer,
    "rotation": RotationQuantizer,
    "simvq": FrozenCodebookQuantizer,
    "fsq": FiniteScalarQuantizer,
    "lfq": LookupFreeQuantizer,
}


def build_quantizer(config: QuantizerConfig) -> Quantizer:
    """The quantiser that `config.kind` names. Raises MissingPackageError where its package is not there."""
    build = KINDS.get(config.kind) or own_builders("quantizer.kind")[config.kind]
    return build(config)
