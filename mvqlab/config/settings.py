"""The one tree of settings: what can be set, in which unit, from which source, with which default.

A run is described by a `Config`. It comes from a preset (a YAML file beside this one, or your own),
changed by ``key=value`` overrides, and is checked as a whole before anything starts::

    config = load_config("shapes32", ["mask.mask_ratio=0.75", "stage1.steps=200"])

The same names stand in a preset, a grid file, a notebook's parameters and a results table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from mvqlab.config.errors import MisfitError
from mvqlab.config.fits import CHECKS
from mvqlab.config.levels import even_levels
from mvqlab.config.own_arms import is_own_mask
from mvqlab.config.recipes import Recipe, filled_in
from mvqlab.config.section import Section
from mvqlab.config.value_types import (
    KNOWN_MIXED,
    AtLeastTwo,
    Batch,
    CaptionTokens,
    Channels,
    Count,
    Extractors,
    Images,
    Layers,
    Measured,
    Mixture,
    Momentum,
    Multipliers,
    NoneOrTwo,
    NonNegative,
    PatchSide,
    Positive,
    Processes,
    Ratio,
    RatioOrRange,
    Redrawn,
    Rows,
    Seed,
    Share,
    Side,
    SomeLayers,
    SomeRows,
    Weight,
)
from mvqlab.config.words import (
    LEARNED_KINDS,
    SETS_WITH_TRUE_MASKS,
    WITH_TRUE_MASKS,
    BackboneKind,
    BlockKind,
    DataName,
    ExtractorName,
    MaskKind,
    MaskProduct,
    Padding,
    PairModelKind,
    PairOrder,
    Perceptual,
    Precision,
    QuantizerKind,
    SceneKind,
    ScorerKind,
    or_own,
)

DATA_SETTINGS_READERS = {  # settings that are left alone unless data.name is one of these
    "root": ("folder", "fashion", "torchvision", "mixture"),
    "captions": ("folder",),
    "set": ("torchvision",),
    "download": ("fashion", "torchvision", "mixture"),
    "mixture": ("mixture",),
}


class DataConfig(Section):
    """Where images come from."""

    name: DataName = "shapes"
    resolution: Side = 32  # side of the square images, pixels
    # both sizes are upper limits for `emoji`, `fashion` and `torchvision`, which have a size of their own
    train_size: Images = 20_000  # images in the training split (`folder`: taken from the folder)
    validation_size: Images = 512  # images in the held-out split (`folder`: see validation_share)
    scene: SceneKind = "full"  # `shapes` only: one to three objects, or one large one on a flat ground
    # `mixture` only: the share of each, such as {photos: 0.8, simple: 0.2}; any sum
    mixture: Mixture = Field(default={})
    root: Path | None = None  # `folder`: its images; `fashion`, `torchvision`: where sets lie (none: cache)
    set: str | None = None  # `torchvision` only: a class of torchvision.datasets, such as CIFAR10
    download: bool = False  # `fashion`, `torchvision`: fetch over the network what is not there
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05  # where images come in one part
    captions: Path | None = None  # `folder` only: CSV with columns `file` and `caption`
    # `folder` with captions: where more of its images have none, the table is taken to be incomplete
    uncaptioned_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    skip_bad: bool = False  # `folder` only: skip and count unreadable files rather than stop
    max_megapixels: Positive = 64.0  # of image files: larger ones are refused as decompression bombs
    flip: bool = True  # mirror stage 1's training images at random (all but `shapes`)
    seed: Seed = 0  # which images are drawn, and the split
    workers: Processes = 0  # loader processes; batches do not depend on it
    cache_tokens: bool = False  # keep stage 2's tokens on disk, for later runs on the same stage 1 and data

    @model_validator(mode="after")
    def _name_needs_more(self) -> DataConfig:
        if self.name == "folder" and self.root is None:
            raise ValueError("data.name is 'folder', so data.root must name the folder of images")
        if self.name == "torchvision" and self.set is None:
            raise ValueError(
                "data.name is 'torchvision', so data.set must name a class of torchvision.datasets, such as "
                "data.set=CIFAR10"
            )
        if self.name == "mixture" and not self.mixture:
            raise ValueError(
                "data.name is 'mixture', so data.mixture must give shares by name, such as "
                f"{{photos: 0.8, simple: 0.2}}; {KNOWN_MIXED}"
            )
        return self

    @model_validator(mode="after")
    def _settings_have_readers(self) -> DataConfig:
        for name, readers in DATA_SETTINGS_READERS.items():
            if getattr(self, name) and self.name not in readers:
                raise MisfitError(
                    f"data.{name} is given, but data.name is '{self.name}', which does not read it",
                    f"set data.name={' or '.join(readers)}",
                )
        return self

    @model_validator(mode="after")
    def _only_shapes_have_scenes(self) -> DataConfig:
        if self.scene != "full" and self.name != "shapes":
            raise MisfitError(
                f"data.scene is '{self.scene}', but data.name is '{self.name}', which draws no scenes",
                "set data.name=shapes",
            )
        return self

    @property
    def has_true_masks(self) -> bool:
        """Whether the pixels of objects are known."""
        return self.name in WITH_TRUE_MASKS or self.set in SETS_WITH_TRUE_MASKS


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
                "mask.exploration puts noise on learned scores that what is kept is best by, and mask.kind "
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
                f"quantizer.kind=lfq has two codes, four, eight and so on, not {size}",
                f"set quantizer.codebook_size={1 << size.bit_length() - 1} or {1 << size.bit_length()}",
            )
        if self.kind == "fsq" and math.prod(self.levels_in_use) != size:
            raise MisfitError(
                f"quantizer.kind=fsq has as many codes as the product of its levels, which "
                f"{list(self.levels_in_use) or 'eight levels of 3 to 8'} do not make {size}",
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


class LossConfig(Section):
    """Stage 1's loss: L1 (and squared error, if asked) + perceptual + adversarial + quantiser (+ scorer)."""

    later: ClassVar[tuple[str, ...]] = ("scorer_weight",)

    perceptual: Perceptual = "none"  # LPIPS backbone; `random` is an untrained one: not a perceptual score
    perceptual_weight: Weight = 1.0
    squared_weight: Weight = 0.0  # of the mean squared error (published: 0); colours are learned sooner
    adversarial_weight: Weight = 0.0  # `disc_weight` of the released code (published: 0.75); 0 is off
    adversarial_cap: Positive = 1.0  # ceiling of weight times gradient ratio (published: 1)
    adversarial_start: NonNegative = 0  # step at which the discriminator enters (released code: 0)
    adversarial_ramp: NonNegative = 0  # steps over which its weight then grows from 0
    scorer_weight: Weight = 0.0  # of the scorer's own: scores tell what dropped regions lose (published: 0)


class DiscriminatorConfig(Section):
    """The PatchGAN discriminator."""

    base_channels: Channels = 64
    layers: SomeLayers = 3  # stride-2 convolutions


class OptimiserConfig(Section):
    """A training loop's length, batch and schedule."""

    steps: Count
    batch_size: Batch  # images of one process in one step, before accumulation
    learning_rate: Positive
    betas: tuple[Momentum, Momentum]
    weight_decay: Weight = 0.0  # a part of the gradient, as Adam has it
    warmup_steps: NonNegative = 0  # linear, from near 0
    warmup_from_zero: bool = False  # the first step has a rate of 0 (as published)
    cosine: bool = True  # then cosine decay to 0
    min_learning_rate: Weight = 0.0  # after warm-up the cosine takes the rate no lower (published: 0)
    gradient_clip: Weight = 0.0  # largest gradient norm; 0 is off
    accumulate: Count = 1  # batches whose gradients are summed before a step
    precision: Precision = "32-true"  # on a GPU 32-true and bf16-mixed have run, 16-mixed not yet
    weight_average: Ratio = 0.0  # decay of the moving average of weights, which is what is kept; 0 is off
    compile: bool = False  # torch.compile: minutes at the start, faster steps after; no run on a GPU yet
    log_every: Count = 10  # steps between two rows of the curves
    validate_every: NonNegative = 0  # steps between two held-out losses; 0: only at the end
    checkpoint_every: NonNegative = 0  # steps between two training states on disk; 0: only at the end
    tensorboard: bool = False  # write TensorBoard logs beside the CSV (needs the `tensorboard` extra)

    @model_validator(mode="after")
    def _least_rate_is_less(self) -> OptimiserConfig:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate ({self.min_learning_rate}) must be at most learning_rate "
                f"({self.learning_rate})"
            )
        return self


class Stage1Config(OptimiserConfig):
    """Training of MQ-VAE or the plain VQ model."""

    steps: Count = 1000
    batch_size: Batch = 32
    learning_rate: Positive = 1e-3
    betas: tuple[Momentum, Momentum] = (0.5, 0.9)


class TransformerConfig(Section):
    """Stackformer or the raster baseline (section 3.2 of the paper)."""

    model: Annotated[str, or_own("transformer.model", get_args(PairModelKind))] = "stackformer"
    first: Literal["code", "position"] = "code"  # what a pair's first transformer predicts
    # order of the pairs in a sequence: by position, by falling score, or any, drawn anew at every step
    order: PairOrder = "raster"
    code_layers: SomeLayers = 3
    position_layers: SomeLayers = 3
    width: Channels = 128
    heads: Channels = 4
    dropout: Ratio = 0.1
    activation_checkpointing: bool = False  # compute activations twice, to hold fewer: for large models
    condition: Literal["none", "class", "caption"] = "none"  # what images are drawn from
    condition_dropout: Ratio = 0.1  # share of training images whose condition is withheld, for guidance
    vocabulary_size: Annotated[Rows, Field(ge=256)] = 512  # captions: tokens of the byte-level BPE, at most
    caption_length: CaptionTokens = 32  # captions: tokens that are read, the begin included
    tokenizer: Path | None = None  # captions: a tokenizer.json to take, instead of one learned from them
    match_parameters: bool = True  # raster, masked_parallel: as many parameters as this Stackformer has
    position_weight: Weight = 1.0  # of the positions' cross-entropy in the loss
    block_size: Rows = 0  # Stackformer: place embeddings that it has; 0: one a pair
    start_codes: SomeRows = 1  # Stackformer: rows beyond K in code table and head (released: one a class)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"transformer.heads ({self.heads}) must divide transformer.width ({self.width})")
        return self


class Stage2Config(OptimiserConfig):
    """Training of the transformers."""

    later: ClassVar[tuple[str, ...]] = ("half",)

    steps: Count = 1000
    batch_size: Batch = 32
    learning_rate: Positive = 5e-4
    betas: tuple[Momentum, Momentum] = (0.9, 0.95)
    weight_decay: Weight = 0.01  # on linear weights only
    optimiser: Literal["adamw", "muon"] = "adamw"  # muon: for the blocks' matrices; the rest keeps AdamW
    # cross-fitting: the transformer learns from this half of the training images, and its held-out losses are
    # of the other; data.seed says which are which, stage 1 knows both alike. None: all, and held-out ones
    half: Literal["first", "second"] | None = None


class SamplingConfig(Section):
    """How pairs are drawn."""

    later: ClassVar[tuple[str, ...]] = ("parallel_steps", "parallel_noise")

    temperature: Weight = 1.0  # 0 takes the likeliest
    code_top_k: NonNegative = 100  # 0 is off
    code_top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    position_top_k: NonNegative = 10  # 0 is off
    position_top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    ordered_positions: bool = True  # raster order: positions rise and leave room for the pairs to come
    code_guidance: Weight = 1.0  # classifier-free guidance of codes; 1 is off, 0 leaves the condition out
    position_guidance: Weight = 1.0  # the same of positions
    parallel_steps: Count = 8  # `masked_parallel` only: steps in which all places are filled
    parallel_noise: Weight = 4.5  # `masked_parallel` only: on how sure a place is, at first; 0: the surest
    cuda_graph: bool = False  # GPUs only: a pair's kernels are launched as one (results/gpu)
    kernels: Literal["plain", "compiled", "fused"] = "plain"  # of `cuda_graph`: see quick_steps.py

    def without_filters(self) -> SamplingConfig:
        """The same with every filter off."""
        off = {"code_top_k": 0, "code_top_p": 1.0, "position_top_k": 0, "position_top_p": 1.0}
        return self.model_copy(update=off)

    @property
    def is_guided(self) -> bool:
        """Whether a second sequence, told nothing, is read beside each."""
        return (self.code_guidance, self.position_guidance) != (1.0, 1.0)


class EvaluationConfig(Section):
    """What is measured, on how much, with which networks."""

    images: AtLeastTwo = 512  # held-out images for reconstruction, codebook and importance
    choices: Measured = 0  # held-out images on which every other choice of regions is tried, too; 0: none
    samples: NoneOrTwo = 256  # generated images for FID and KID; 0 leaves generation out
    batch_size: Batch = 64
    bootstrap: Redrawn = 0  # sets redrawn for intervals of FID and its like, such as 200; 0: no intervals
    extractor: Extractors = "judge"  # features of FID and KID: a name or several, a column each
    judge_seeds: Annotated[int, Field(ge=1, le=100)] = 3  # judges whose distances are averaged
    judge_steps: NonNegative = 0  # training of each; 0: as many as the data need, some 50 seconds of one core
    extractor_steps: Count = 300  # training of the older `lab` extractor
    lpips: Perceptual = "random"  # network of the LPIPS column, named in its header

    @property
    def extractors(self) -> tuple[ExtractorName, ...]:
        """The names in `extractor`, be it one or several."""
        return self.extractor if isinstance(self.extractor, tuple) else (self.extractor,)


class Config(Section):
    """Everything that describes a run."""

    preset: str = "default"  # where the settings came from; overrides do not change it
    seed: Seed = 0
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    mask: MaskConfig = MaskConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    demask: DemaskConfig = DemaskConfig()
    loss: LossConfig = LossConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    stage1: Stage1Config = Stage1Config()
    transformer: TransformerConfig = TransformerConfig()
    stage2: Stage2Config = Stage2Config()
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe_is_filled_in(cls, settings: Any) -> Any:
        is_plain = isinstance(settings, Mapping) and isinstance(settings.get("mask"), Mapping)
        return filled_in(settings, Stage1Config().steps) if is_plain else settings

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Config:
        for check in CHECKS:
            check(self)
        return self

    @property
    def grid_side(self) -> int:
        """h = w: regions along a side of the feature map."""
        return self.data.resolution // self.backbone.downsampling
