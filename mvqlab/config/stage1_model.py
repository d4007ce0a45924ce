"""Settings of a stage-1 model (section 3.1): backbone, mask module, quantiser, de-mask module."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from mvqlab.config.errors import MisfitError
from mvqlab.config.levels import even_levels
from mvqlab.config.own_arms import is_own_mask
from mvqlab.config.recipes import Recipe
from mvqlab.config.section import Section
from mvqlab.config.value_types import (
    Channels,
    Count,
    Layers,
    Multipliers,
    NonNegative,
    PatchSide,
    Positive,
    Ratio,
    RatioOrRange,
    Share,
    SomeLayers,
    SomeRows,
    Weight,
)
from mvqlab.config.words import (
    LEARNED_KINDS,
    BackboneKind,
    BlockKind,
    MaskKind,
    MaskProduct,
    Padding,
    QuantizerKind,
    ScorerKind,
    or_own,
)


class BackboneConfig(Section):
    """Encoder and decoder: VQGAN's (published: f8, 128 channels, multipliers 1, 1, 2, 2) or patches."""

    kind: BackboneKind = "vqgan"  # `patch` works at the grid's side only: small models learn hues sooner
    base_channels: Channels = 32  # channels at full resolution (`patch`: at the grid's side)
    channel_multipliers: Multipliers = (1, 2, 2)  # `vqgan` only: one a level; all but the last halve the side
    patch_size: PatchSide = 4  # `patch` only: side of the patches, pixels; one is a region
    block: BlockKind = "depthwise"  # `patch` only: ConvNeXt's (7x7, 1x1, 1x1), or `residual` (3x3, 3x3)
    padding: Padding = "zeros"  # `patch` only: what lies beyond the border; `replicate`: no frame, no checker
    residual_blocks: SomeLayers = 1  # a level; `patch` has one level (the decoder has one block more)
    attention_resolutions: tuple[Count, ...] = ()  # feature-map sides, in pixels, that get self-attention
    feature_dim: Channels = 64  # d: channels of the feature map Z
    norm_groups: Count = 32  # groups of every GroupNorm (published: 32)
    dropout: Ratio = 0.0
    zero_init: bool = False  # residual branches start at zero (published: off); small models train sooner

    @property
    def downsampling(self) -> int:
        """The factor f between image side and grid side."""
        return self.patch_size if self.kind == "patch" else 2 ** (len(self.channel_multipliers) - 1)

    def sides(self, resolution: int) -> list[int]:
        """Sides of the feature maps that have residual blocks, for images of side `resolution`, in pixels."""
        if self.kind == "patch":
            return [resolution // self.patch_size]
        return [resolution // 2**level for level in range(len(self.channel_multipliers))]


class MaskConfig(Section):
    """Which regions are quantised (section 3.1 of the paper)."""

    later: ClassVar[tuple[str, ...]] = ("recipe",)
    of_training: ClassVar = ("recipe", "ramp_steps", "scorer_rate", "exploration", "exploration_steps")

    # what regions are chosen by, see MaskKind
    kind: Annotated[str, or_own("mask.kind", get_args(MaskKind))] = "adaptive"
    mask_ratio: RatioOrRange = 0.5  # share of the regions that is dropped; [low, high]: drawn for each batch
    evaluation_ratio: Ratio | None = None  # dropped outside training; none given: as in it (a range's middle)
    recipe: Recipe = "paper"  # how learned scores come about: fills in what is not given, see recipes.py
    ramp_steps: NonNegative = 0  # steps of training over which the share that is dropped rises from 0
    # regions kept: as many of every image; by a threshold; in training as many as each image draws (prefix)
    budget: Literal["fixed", "threshold", "prefix"] = "fixed"
    # the paper's two-layer MLP, or the released code's convolutions
    scorer: Annotated[str, or_own("mask.scorer", get_args(ScorerKind))] = "mlp"
    scorer_norm: bool = True  # `conv` only: LayerNorm over (d, h, w) and BatchNorm on the score
    scorer_rate: Positive = 1.0  # the scorer's learning rate, as a multiple of the model's (published: 1)
    product: MaskProduct | None = None  # kept features times learned scores; none given: where these choose
    exploration: Weight = 0.0  # Gumbel noise on the scores' logits in training (published: 0)
    exploration_steps: NonNegative = 0  # steps of training over which that noise fades; 0: it stays
    norm: bool = True  # LayerNorm of kept features (published: on)

    @model_validator(mode="after")
    def _plain_keeps_all(self) -> MaskConfig:
        if self.kind == "none" and (self.mask_ratio != 0.0 or self.evaluation_ratio):
            raise ValueError(
                f"mask.kind is 'none' (the plain VQ model quantises every region), so mask.mask_ratio "
                f"must be 0, not {self.evaluation_ratio or self.mask_ratio}"
            )
        return self

    @model_validator(mode="after")
    def _learned_settings_have_scores(self) -> MaskConfig:
        if self.exploration and self.kind not in ("adaptive", "dual_grain"):
            raise MisfitError(
                "mask.exploration adds noise to the learned scores that choose regions, but mask.kind "
                f"'{self.kind}' has none",
                "set mask.kind=adaptive, or mask.exploration=0",
            )
        if self.exploration_steps and not self.exploration:
            raise MisfitError(
                "mask.exploration_steps is given, but mask.exploration is 0, so there is nothing to fade",
                "set mask.exploration, or mask.exploration_steps=0",
            )
        if self.kind == "none" and (self.product or not self.norm or self.ramp_steps):
            raise MisfitError(
                "mask.product, mask.norm or mask.ramp_steps is given, but mask.kind is 'none', the plain VQ "
                "model, which has no mask module",
                "leave it out, or set mask.kind=adaptive with mask.mask_ratio=0",
            )
        return self

    @model_validator(mode="after")
    def _threshold_has_scores(self) -> MaskConfig:
        if self.budget == "threshold" and self.kind != "adaptive":
            raise MisfitError(
                "mask.budget 'threshold' keeps the regions whose learned score is high enough, and mask.kind "
                f"'{self.kind}' has no learned scores of single regions",
                "set mask.kind=adaptive, or mask.budget=fixed",
            )
        if self.budget == "threshold" and self.ratio_in_use == 0.0:
            raise MisfitError(
                "mask.budget 'threshold' with a mask.mask_ratio of 0 drops nothing",
                "set the share that is to be dropped on average, or mask.budget=fixed",
            )
        return self

    @model_validator(mode="after")
    def _prefixes_have_a_range(self) -> MaskConfig:
        low, high = self.ratio_range
        if self.budget == "prefix" and (self.kind != "adaptive" or low == high):
            raise MisfitError(
                "mask.budget 'prefix' keeps the best regions by learned scores, in training as many of each "
                f"image as it draws, but mask.kind is '{self.kind}' and mask.mask_ratio {self.mask_ratio}",
                "set mask.kind=adaptive and a range such as mask.mask_ratio=[0.0,0.9], or mask.budget=fixed",
            )
        return self

    @model_validator(mode="after")
    def _blocks_have_a_code_each(self) -> MaskConfig:
        if self.kind != "dual_grain":
            return self
        for name, ratio in {"mask_ratio": self.ratio_range[1], "evaluation_ratio": self.ratio_in_use}.items():
            if ratio > 0.75:
                raise MisfitError(
                    f"mask.{name} is {ratio}, but mask.kind 'dual_grain' has at least a code for every block "
                    "of 2 x 2 regions",
                    f"set mask.{name} to 0.75 or less, or mask.kind=adaptive",
                )
        if self.product == "score":
            raise MisfitError(
                "mask.product is 'score', but the scores of mask.kind 'dual_grain' learn by gates of 1 or 0 "
                "between fine and coarse features, and shrink nothing",
                "leave mask.product out, or set mask.kind=adaptive",
            )
        return self

    @property
    def chooses_by_scores(self) -> bool:
        """Whether learned scores say which regions are kept, or which blocks are fine."""
        return self.kind in (*LEARNED_KINDS, "dual_grain") or is_own_mask(self.kind)

    @property
    def product_in_use(self) -> MaskProduct:
        """How kept features are multiplied by learned scores: as published where these choose."""
        if self.product is not None:
            return self.product
        if self.kind == "dual_grain":  # gates of 1 or 0
            return "straight_through"
        return "score" if self.chooses_by_scores else "none"

    @property
    def ratio_range(self) -> tuple[float, float]:
        """The least and the most that training drops: each batch draws its ratio between them."""
        return self.mask_ratio if isinstance(self.mask_ratio, tuple) else (self.mask_ratio, self.mask_ratio)

    @property
    def ratio_in_use(self) -> float:
        """What is dropped outside training: in evaluation, and for stage 2."""
        return sum(self.ratio_range) / 2 if self.evaluation_ratio is None else self.evaluation_ratio


class QuantizerConfig(Section):
    """The codebook, its moving average and its restarts (METHOD: quantiser, weak points 1 and 3)."""

    later: ClassVar[tuple[str, ...]] = ("kind", "levels")
    of_training: ClassVar = (
        "ema_decay",
        "commitment_weight",
        "start_step",
        "restart",
        "restart_share",
        "restart_patience",
    )

    # how features become codes: see models/quantizers.py
    kind: Annotated[str, or_own("quantizer.kind", get_args(QuantizerKind))] = "ema"
    codebook_size: SomeRows = 128  # K
    code_dim: Channels = 32  # n_z
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    commitment_weight: Weight = 0.25  # beta
    start_step: NonNegative = 0  # step at which quantising begins; until then features pass as they are
    restart: Literal["scale_free", "released", "none"] = "scale_free"  # rule that redraws unused codes
    restart_share: Share = 0.1  # `scale_free`: threshold, as a share of the count under uniform use
    restart_patience: Count = 20  # `scale_free`: steps a code must stay under the threshold
    # `fsq` only: steps of each number, 3 or more, with K as their product; none: as few and as even as can be
    levels: tuple[Annotated[int, Field(ge=3, le=1024)], ...] | None = None

    @property
    def levels_in_use(self) -> tuple[int, ...]:
        """The steps of each number of `fsq`: `levels`, or those that are chosen for K."""
        return self.levels or even_levels(self.codebook_size)

    @model_validator(mode="after")
    def _codes_fit_the_kind(self) -> QuantizerConfig:
        size = self.codebook_size
        if self.levels is not None and self.kind != "fsq":
            raise MisfitError(
                f"quantizer.levels is given, but quantizer.kind is '{self.kind}', which does not read it",
                "set quantizer.kind=fsq",
            )
        if self.kind == "lfq" and size & (size - 1):
            raise MisfitError(
                f"quantizer.kind=lfq needs a codebook_size that is a power of two, not {size}",
                f"set quantizer.codebook_size={1 << size.bit_length() - 1} or {1 << size.bit_length()}",
            )
        if self.kind == "fsq" and math.prod(self.levels_in_use) != size:
            raise MisfitError(
                f"quantizer.kind=fsq has as many codes as the product of its levels, and {size} is not that "
                f"of {list(self.levels_in_use) or 'up to eight levels of 3 to 8'}",
                "set quantizer.levels and quantizer.codebook_size to fit, such as [8, 8, 4] and 256",
            )
        return self


class DemaskConfig(Section):
    """How dropped regions are inferred (section 3.1, table 7); `mask.kind=dual_grain` has none to infer."""

    later: ClassVar[tuple[str, ...]] = ("attention",)
    read_by_attention: ClassVar = ("direction_constraint", "mask_update", "renormalise", "initial_trust")

    kind: Literal["adaptive", "none"] = "adaptive"  # `none`, a control: codes go to the decoder as they lie
    layers: Layers = 8  # of residual block + attention; 0 leaves convolutions only
    attention: bool = True  # off, a control: the layers' residual blocks alone, which carry two places each
    direction_constraint: bool = True  # information flows from kept to dropped regions only
    mask_update: bool = True  # inferred regions are trusted more, layer by layer
    renormalise: bool = False  # let attention rows sum to one again (off as published)
    initial_trust: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02  # B_0 at dropped regions

    @model_validator(mode="after")
    def _attention_reads_its_settings(self) -> DemaskConfig:
        for name in self.read_by_attention:
            if not (self.attention or self.is_default(name)):
                raise MisfitError(
                    f"demask.{name} is given, but demask.attention is off, which alone reads it",
                    f"leave demask.{name} out, or set demask.attention=true",
                )
        return self

    @model_validator(mode="after")
    def _without_a_module_nothing_is_read(self) -> DemaskConfig:
        for name in ("attention", *self.read_by_attention):  # `layers` is left alone: presets set it
            if self.kind == "none" and not self.is_default(name):
                raise MisfitError(
                    f"demask.{name} is given, but demask.kind is 'none', which infers nothing",
                    f"leave demask.{name} out, or set demask.kind=adaptive",
                )
        return self

    def is_default(self, name: str) -> bool:
        """Whether the setting `name` is as it is where nothing is said."""
        return bool(getattr(self, name) == type(self).model_fields[name].default)
