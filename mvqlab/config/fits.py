"""What settings of several sections have to agree on. A check of one section alone stands with it.

Each raises ValueError, or MisfitError where there is one thing to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mvqlab.config.errors import MisfitError
from mvqlab.config.words import SETS_WITH_TRUE_MASKS, TRUE_KINDS, WITH_TRUE_MASKS

if TYPE_CHECKING:
    from mvqlab.config.settings import Config


def check_grid(config: Config) -> None:
    """The image's side is cut into whole regions."""
    backbone, resolution = config.backbone, config.data.resolution
    if resolution % backbone.downsampling:
        cause = (
            "the side of a patch (backbone.patch_size)"
            if backbone.kind == "patch"
            else f"the down-sampling of {len(backbone.channel_multipliers)} levels"
        )
        raise ValueError(
            f"data.resolution ({resolution}) must be a multiple of {backbone.downsampling}, {cause}"
        )


def check_attention_sides(config: Config) -> None:
    """Self-attention is asked for where there are feature maps."""
    sides = config.backbone.sides(config.data.resolution)
    strange = sorted(set(config.backbone.attention_resolutions) - set(sides))
    if strange:
        raise ValueError(
            f"backbone.attention_resolutions names {strange}, but feature maps have sides {sides}"
        )


def check_discriminator(config: Config) -> None:
    """Images are large enough for the discriminator, if there is one."""
    smallest = 3 * 2**config.discriminator.layers
    if config.loss.adversarial_weight > 0.0 and config.data.resolution < smallest:
        raise MisfitError(
            f"a discriminator of {config.discriminator.layers} layers needs images of {smallest} pixels, "
            f"data.resolution is {config.data.resolution}",
            "set fewer discriminator.layers",
        )


def check_true_masks(config: Config) -> None:
    """Masks that know the objects have data that know them."""
    if config.mask.kind in TRUE_KINDS and not config.data.has_true_masks:
        raise MisfitError(
            f"mask.kind '{config.mask.kind}' needs true object masks, which data.name "
            f"'{config.data.set or config.data.name}' has not",
            f"set data.name to one of {', '.join(WITH_TRUE_MASKS)}, or to torchvision with data.set one "
            f"of {', '.join(SETS_WITH_TRUE_MASKS)}",
        )


def check_dual_grain(config: Config) -> None:
    """Blocks of 2 x 2 regions cover the grid, and nothing is said of inferring, which they do not do."""
    if config.mask.kind != "dual_grain":
        return
    if config.grid_side % 2:
        raise MisfitError(
            "mask.kind 'dual_grain' cuts the grid into blocks of 2 x 2 regions, and it has "
            f"{config.grid_side} a side",
            "set data.resolution or the backbone's down-sampling so that the grid's side is even",
        )
    if config.transformer.model == "masked_parallel":
        raise MisfitError(
            "transformer.model 'masked_parallel' fixes single regions, and with mask.kind 'dual_grain' pairs "
            "stand for blocks of 2 x 2",
            "set transformer.model=stackformer or none, or mask.kind=adaptive",
        )
    for name in ("attention", *config.demask.read_by_attention):  # `layers` is left alone: presets set it
        if not config.demask.is_default(name):
            raise MisfitError(
                f"demask.{name} is given, but mask.kind 'dual_grain' copies codes and infers nothing",
                f"leave demask.{name} out, or set mask.kind=adaptive",
            )


def check_scores_learn(config: Config) -> None:
    """A rate and a loss of learned scores have scores that learn."""
    mask, weight = config.mask, config.loss.scorer_weight
    if mask.scorer_rate != 1.0 and mask.product_in_use == "none" and not weight:
        raise MisfitError(
            "mask.scorer_rate is given, but there is neither a product with scores nor a loss of their own "
            "by which they would learn",
            "set mask.product=straight_through or loss.scorer_weight, or mask.scorer_rate=1",
        )
    if weight and not mask.chooses_by_scores:
        raise MisfitError(
            f"loss.scorer_weight trains learned scores, but mask.kind '{mask.kind}' chooses by none",
            "set mask.kind=adaptive, or loss.scorer_weight=0",
        )


def check_pair_order(config: Config) -> None:
    """The order of pairs is one that the model of pairs knows."""
    told = config.transformer
    if told.model == "raster" and told.order != "raster":
        raise MisfitError(
            f"transformer.order is '{told.order}', but transformer.model is 'raster', whose positions are "
            "given row by row",
            "set transformer.order=raster, or transformer.model=stackformer",
        )
    if told.model == "raster" and told.first != "code":
        raise MisfitError(
            f"transformer.first is '{told.first}', but transformer.model is 'raster', which predicts no "
            "positions",
            "set transformer.first=code, or transformer.model=stackformer",
        )
    if told.model == "masked_parallel" and (told.order != "raster" or told.first != "code"):
        raise MisfitError(
            "transformer.order or transformer.first is given, but transformer.model is 'masked_parallel', "
            "which draws pairs in no order, code and position at once",
            "leave them out, or set transformer.model=stackformer",
        )


def check_raster_has_all(config: Config) -> None:
    """Nothing is dropped for a model that reads a code at every region."""
    if config.transformer.model == "raster" and config.mask.ratio_in_use > 0.0:
        raise MisfitError(
            f"transformer.model 'raster' reads a code at every region, but mask.mask_ratio "
            f"({config.mask.ratio_in_use}) drops some",
            "set mask.mask_ratio=0 (or mask.kind=none), or transformer.model=stackformer",
        )


def check_guidance(config: Config) -> None:
    """Guidance has a condition to lead to, and has seen images without it."""
    told = config.transformer
    if config.sampling.is_guided and (told.condition == "none" or told.condition_dropout == 0.0):
        cause = (
            "transformer.condition is none"
            if told.condition == "none"
            else "no image is shown without its condition (transformer.condition_dropout is 0)"
        )
        raise MisfitError(
            f"guidance compares what is drawn with and without its condition, but {cause}",
            "set sampling.code_guidance=1 and sampling.position_guidance=1, which turn it off",
        )


CHECKS: tuple[Callable[[Config], None], ...] = (
    check_grid,
    check_attention_sides,
    check_discriminator,
    check_true_masks,
    check_dual_grain,
    check_scores_learn,
    check_pair_order,
    check_raster_has_all,
    check_guidance,
)
