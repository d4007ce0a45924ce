"""Build a stage-2 model by name, and give Stackformer's rivals as many parameters as it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mvqlab.config import ConfigError, TransformerConfig
from mvqlab.config.own_arms import own_builders
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.pair_model import PairLoss, PairModel
from mvqlab.models.raster import RasterTransformer
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.start import Start, build_start

__all__ = ["PairLoss", "PairModel", "build_stage2", "match_parameters", "n_parameters"]


# The models that read pairs of code and position, by `transformer.model`; `raster` reads codes alone.
PAIR_MODELS: dict[str, Callable[..., PairModel]] = {
    "stackformer": Stackformer,
    "masked_parallel": MaskedParallel,
}
OF_ANOTHER_WIDTH = ("raster", "masked_parallel")  # one stack of blocks: `match_parameters` gives them width


def build_stage2(
    config: TransformerConfig,
    *,
    codebook_size: int,
    side: int,
    n_pairs: int,
    n_classes: int = 0,
    has_end: bool = False,
) -> PairModel:
    """The model that `config.model` names, for `n_pairs` pairs an image on a grid of side * side places.

    With `has_end` images have up to `n_pairs` pairs, and the model says where each ends. The raster baseline
    and the masked parallel model read every place whatever `n_pairs` is; with `config.match_parameters` their
    width is chosen so that they have as many parameters as the Stackformer that `config` describes.

    `n_classes` are the data's, of which only a class-conditional model takes note.

    Raises ConfigError if the model is none, class-conditional without classes, if the raster baseline
    is to read images that have no code at some places, or if a Stackformer's sequences are longer than
    `block_size`.
    """
    if config.condition == "class" and n_classes == 0:
        raise ConfigError("transformer.condition is 'class', but the data has no classes")
    if config.model == "stackformer" and 0 < config.block_size < n_pairs:
        raise ConfigError(
            f"transformer.block_size ({config.block_size}) is shorter than the {n_pairs} pairs of an image"
        )
    if config.model == "raster" and (has_end or n_pairs != side**2):
        kept = "a number of its own of each image" if has_end else n_pairs
        raise ConfigError(
            f"the raster transformer needs a code at each of the {side**2} places, but stage 1 keeps "
            f"{kept}: use the plain VQ model (mask.kind=none) or mask.mask_ratio=0"
        )
    sizes: dict[str, Any] = {"codebook_size": codebook_size, "side": side, "n_classes": n_classes}
    if config.match_parameters and config.model in OF_ANOTHER_WIDTH:
        config = match_parameters(config, **sizes)
    return _build(config, n_pairs=n_pairs, has_end=has_end, **sizes)


def _build(
    config: TransformerConfig, *, codebook_size: int, side: int, n_classes: int, n_pairs: int, has_end: bool
) -> PairModel:
    sizes: dict[str, Any] = {"codebook_size": codebook_size, "side": side}
    start = start_of(config, n_classes)
    if config.model == "raster":
        return RasterTransformer(config, start=start, **sizes)
    if config.model == "none":
        raise ConfigError("transformer.model is 'none': there is no stage 2 to build")
    build = PAIR_MODELS.get(config.model) or own_builders("transformer.model")[config.model]
    return build(config, n_pairs=n_pairs, start=start, has_end=has_end, **sizes)


def start_of(config: TransformerConfig, n_classes: int) -> Start:
    """What the sequences of the model that `config` describes start with."""
    return build_start(
        config.width,
        n_classes=n_classes if config.condition == "class" else 0,
        vocabulary_size=config.vocabulary_size if config.condition == "caption" else 0,
        caption_length=config.caption_length,
        has_null=config.condition_dropout > 0.0,
    )


def match_parameters(
    config: TransformerConfig, *, codebook_size: int, side: int, n_classes: int = 0
) -> TransformerConfig:
    """`config` with the width that brings the model that it names nearest to its Stackformer's size.

    The Stackformer counted is the one over all side * side places. Layers and heads stay as they are, so
    the width moves in steps of `config.heads`.
    """
    sizes: dict[str, Any] = {"codebook_size": codebook_size, "side": side, "n_classes": n_classes}
    sizes |= {"n_pairs": side**2, "has_end": False}
    with torch.device("meta"):
        wanted = n_parameters(_build(config.model_copy(update={"model": "stackformer"}), **sizes))

        def surplus(width: int) -> int:
            return n_parameters(_build(config.model_copy(update={"width": width}), **sizes)) - wanted

        width = config.width
        while surplus(width) < 0:
            width += config.heads
        while surplus(width) > 0:
            width -= config.heads
        nearest = min((width, width + config.heads), key=lambda candidate: abs(surplus(candidate)))
    return config.model_copy(update={"width": nearest})


def n_parameters(model: nn.Module) -> int:
    """Number of trained numbers in `model`."""
    return sum(parameter.numel() for parameter in model.parameters())
