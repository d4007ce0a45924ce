"""The one tree of settings: what can be set, in which unit, from which source, with which default.

A run is described by a `Config`. It comes from a preset (a YAML file beside this one, or your own),
changed by ``key=value`` overrides, and is checked as a whole before anything starts::

    config = load_config("shapes32", ["mask.mask_ratio=0.75", "stage1.steps=200"])

The same names stand in a preset, a grid file, a notebook's parameters and a results table.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from mvqlab.config.errors import ConfigError, Fault, MisfitError
from mvqlab.config.levels import even_levels
from mvqlab.config.own_arms import GIVE_ITS_FILE, NamesOf, is_own_mask, names_of, reserve
from mvqlab.config.recipes import Recipe, filled_in
from mvqlab.config.typed_text import typed
from mvqlab.config.yaml_files import YamlFileError, read_yaml

ANY: TypeAdapter[Any] = TypeAdapter(Any)
PRESET_FOLDER = Path(__file__).parent / "presets"

Ratio = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
# Upper bounds refuse what no machine holds before any memory is asked for; what one holds is its own matter.
Count = Annotated[int, Field(ge=1, lt=2**31)]
NonNegative = Annotated[int, Field(ge=0, lt=2**31)]
Side = Annotated[int, Field(ge=8, le=2**14)]  # of images, pixels
Images = Annotated[int, Field(ge=1, le=10**8)]  # of a split: their numbers are held in memory
Measured = Annotated[int, Field(ge=0, le=10**7)]  # images whose features are held in memory
Batch = Annotated[int, Field(ge=1, le=2**16)]
Channels = Annotated[int, Field(ge=1, le=2**16)]
Layers = Annotated[int, Field(ge=0, le=2**10)]
SomeLayers = Annotated[Layers, Field(ge=1)]
Rows = Annotated[int, Field(ge=0, le=2**22)]  # of a table of embeddings
SomeRows = Annotated[Rows, Field(ge=1)]
PatchSide = Annotated[int, Field(ge=2, le=2**14)]  # pixels
CaptionTokens = Annotated[int, Field(ge=2, le=2**16)]
AtLeastTwo = Annotated[Measured, Field(ge=2)]
Redrawn = Annotated[int, Field(ge=0, le=10**6)]  # sets of a bootstrap
Multiplier = Annotated[int, Field(ge=1, le=2**10)]
Processes = Annotated[int, Field(ge=0, le=2**10)]
Positive = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]
Multipliers = Annotated[tuple[Multiplier, ...], Field(min_length=1, max_length=12)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _ratio_or_range(value: Any) -> float | tuple[float, float]:
    """A ratio, or a range of ratios [low, high]."""
    if not isinstance(value, list | tuple):
        return _ratio(value)
    if len(value) != 2 or not (low := _ratio(value[0])) < (high := _ratio(value[1])):
        raise ValueError("a range of ratios is two of them, rising: [low, high]")
    return low, high


def _ratio(value: Any) -> float:
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = None
    if ratio is None or isinstance(value, bool):
        raise ValueError("must be a number, or a range of numbers [low, high]")
    if not 0.0 <= ratio < 1.0:
        raise ValueError("must be at least 0 and less than 1")
    return ratio


RatioOrRange = Annotated[float | tuple[float, float], BeforeValidator(_ratio_or_range)]

MIXED_NAMES = ("emoji", "fashion", "photos", "shapes", "simple")  # what a mixture can be made of


def _mixture(value: Any) -> dict[str, float]:
    """Shares by name, in the order of `MIXED_NAMES`, however they were written down."""
    if not isinstance(value, Mapping):
        raise ValueError("must be shares by name, such as {photos: 0.8, simple: 0.2}")
    for name, share in value.items():
        if name not in MIXED_NAMES:
            nearest = Fault("", f"knows no '{name}'", _advice_for(str(name), MIXED_NAMES))
            raise ValueError(f"{nearest}; {_KNOWN_MIXED}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < math.inf:
            raise ValueError(f"the share of '{name}' must be a number above 0, not {share!r}")
    return {name: float(value[name]) for name in MIXED_NAMES if name in value}


_KNOWN_MIXED = f"known: {', '.join(MIXED_NAMES)}"
Mixture = Annotated[dict[str, float], BeforeValidator(_mixture)]


def _none_or_two(n_images: int) -> int:
    if n_images == 1:
        raise ValueError("FID and KID need at least two images; 0 leaves generation out")
    return n_images


NoneOrTwo = Annotated[Measured, AfterValidator(_none_or_two)]

ExtractorName = Literal["judge", "lab", "inception", "efficientnet"]


def _extractors(value: Any) -> str | tuple[str, ...]:
    """One name, or several in a list, which stand for columns of their own."""
    if isinstance(value, str):
        value = value.strip().removeprefix("[").removesuffix("]").split(",")
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be the name of an extractor, or a list of names such as [judge, efficientnet]")
    names, known = list(dict.fromkeys(str(name).strip() for name in value)), get_args(ExtractorName)
    for name in names:
        if name not in known:
            nearest = Fault("", f"knows no '{name}'", _advice_for(name, known))
            raise ValueError(f"{nearest}; known: {', '.join(known)}")
    return names[0] if len(names) == 1 else tuple(names)


Extractors = Annotated[ExtractorName | tuple[ExtractorName, ...], BeforeValidator(_extractors)]

DataName = Literal["shapes", "emoji", "photos", "fashion", "folder", "torchvision", "mixture"]
SceneKind = Literal["full", "simple"]
MaskKind = Literal[
    "adaptive",  # the paper's: by learned scores
    "upside_down",  # a control: by learned scores, the lowest are kept
    "random",  # table 6's baseline
    "variance",  # by what is measured on the pixels of a region, see models/image_scorers.py
    "gradient",
    "transform",
    "neighbours",
    "entropy",
    "truth",  # by the data's object masks
    "background",  # the opposite
    "dual_grain",  # DQ-VAE's: learned scores say which 2 x 2 blocks get four codes, others have one
    "none",  # the plain VQ model, which quantises every region
]
MaskProduct = Literal["score", "straight_through", "none"]
LEARNED_KINDS = ("adaptive", "upside_down")  # of masks: those that choose by learned scores
TRUE_KINDS = ("truth", "background")  # of masks: those that know the objects
PairOrder = Literal["raster", "score", "random"]
QuantizerKind = Literal["ema", "rotation", "simvq", "fsq", "lfq"]
PairModelKind = Literal["stackformer", "raster", "masked_parallel", "none"]
ScorerKind = Literal["mlp", "conv"]
BackboneKind = Literal["vqgan", "patch"]
BlockKind = Literal["residual", "depthwise"]
Padding = Literal["zeros", "replicate"]
Perceptual = Literal["vgg", "alex", "squeeze", "random", "none"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def _or_own(place: str, built_in: tuple[str, ...]) -> AfterValidator:
    """Of the setting `place`: one of the words `built_in`, or one that an arm of one's own adds."""
    reserve(place, built_in)

    def known(name: str) -> str:
        if name not in built_in and name not in (names := names_of(place)):
            nearest = _advice_for(name, names)
            raise MisfitError(
                f"there is no '{name}'; there are {', '.join(names)}",
                f"{nearest} {GIVE_ITS_FILE[0].upper()}{GIVE_ITS_FILE[1:]}" if nearest else GIVE_ITS_FILE,
            )
        return name

    return AfterValidator(known)


class Section(BaseModel):
    """A group of settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    # settings that came when grids had already run, by which points are known: written only where they are
    # not at their default, so that those points stay what they are
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _later_ones_only_where_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: type(self).model_fields[name].default for name in self.later}
        return {
            name: value
            for name, value in write(self).items()
            if name not in defaults or value != defaults[name]
        }

    def plain(self) -> dict[str, Any]:
        """All settings as plain values, also those that are not written: two sections compare by it."""
        return {
            name: value.plain() if isinstance(value, Section) else ANY.dump_python(value, mode="json")
            for name, value in self
        }


DATA_SETTINGS_READERS = {  # settings that are left alone unless data.name is one of these
    "root": ("folder", "fashion", "torchvision", "mixture"),
    "captions": ("folder",),
    "set": ("torchvision",),
    "download": ("fashion", "torchvision", "mixture"),
    "mixture": ("mixture",),
}
WITH_TRUE_MASKS = ("shapes", "emoji", "fashion")  # data sets whose object pixels are known
SETS_WITH_TRUE_MASKS = ("OxfordIIITPet", "VOCSegmentation")  # and those among the sets of torchvision


class DataConfig(Section):
    """Where images come from."""

    name: DataName = "shapes"
    resolution: Side = 32  # side of the square images, pixels
    # both sizes are upper limits for `emoji`, `fashion` and `torchvision`, which have a size of their own
    train_size: Images = 20_000  # images in the training split (`folder`: taken from the folder)
    validation_size: Images = 512  # images in the held-out split (`folder`: see validation_share)
    scene: SceneKind = "full"  # `shapes` only: one to three objects, or one large one on a flat ground
    mixture: Mixture = {}  # `mixture` only: the share of each, such as {photos: 0.8, simple: 0.2}; any sum
    root: Path | None = None  # `folder`: its images; `fashion`, `torchvision`: where sets lie (none: cache)
    set: str | None = None  # `torchvision` only: a class of torchvision.datasets, such as CIFAR10
    download: bool = False  # `fashion`, `torchvision`: fetch over the network what is not there
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05  # where images come in one part
    captions: Path | None = None  # `folder` only: CSV with columns `file` and `caption`
    # `folder` with captions: where more of its images have none, the table is taken to be incomplete
    uncaptioned_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    skip_bad: bool = False  # `folder` only: skip and count unreadable files rather than stop
    max_megapixels: Positive = 64.0  # of image files: larger ones are refused as decompression bombs
    flip: bool = True  # mirror training images at random (all but `shapes`)
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
                f"{{photos: 0.8, simple: 0.2}}; {_KNOWN_MIXED}"
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

    # what regions are chosen by, see MaskKind
    kind: Annotated[str, _or_own("mask.kind", get_args(MaskKind))] = "adaptive"
    mask_ratio: RatioOrRange = 0.5  # share of the regions that is dropped; [low, high]: drawn for each batch
    evaluation_ratio: Ratio | None = None  # dropped outside training; none given: as in it (a range's middle)
    recipe: Recipe = "paper"  # how learned scores come about: fills in what is not given, see recipes.py
    ramp_steps: NonNegative = 0  # steps of training over which the share that is dropped rises from 0
    # regions kept: as many of every image; by a threshold; in training as many as each image draws (prefix)
    budget: Literal["fixed", "threshold", "prefix"] = "fixed"
    # the paper's two-layer MLP, or the released code's convolutions
    scorer: Annotated[str, _or_own("mask.scorer", get_args(ScorerKind))] = "mlp"
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

    # how features become codes: see models/quantizers.py
    kind: Annotated[str, _or_own("quantizer.kind", get_args(QuantizerKind))] = "ema"
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

    kind: Literal["adaptive", "none"] = "adaptive"  # `none`, a control: codes go to the decoder as they lie
    layers: Layers = 8  # of residual block + attention; 0 leaves convolutions only
    attention: bool = True  # off, a control: the layers' residual blocks alone, which carry two places each
    direction_constraint: bool = True  # information flows from kept to dropped regions only
    mask_update: bool = True  # inferred regions are trusted more, layer by layer
    renormalise: bool = False  # let attention rows sum to one again (off as published)
    initial_trust: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02  # B_0 at dropped regions

    @model_validator(mode="after")
    def _attention_reads_its_settings(self) -> DemaskConfig:
        read_by_attention = ("direction_constraint", "mask_update", "renormalise", "initial_trust")
        for name in read_by_attention:
            if not self.attention and getattr(self, name) != DemaskConfig.model_fields[name].default:
                raise MisfitError(
                    f"demask.{name} is given, but demask.attention is off, which alone reads it",
                    f"leave demask.{name} out, or set demask.attention=true",
                )
        return self


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
    weight_decay: Weight = 0.0
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

    model: Annotated[str, _or_own("transformer.model", get_args(PairModelKind))] = "stackformer"
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
    match_parameters: bool = True  # raster: give it as many parameters as the Stackformer described here
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
    def _grid_fits(self) -> Config:
        if self.data.resolution % self.backbone.downsampling:
            n_levels = len(self.backbone.channel_multipliers)
            cause = (
                "the side of a patch (backbone.patch_size)"
                if self.backbone.kind == "patch"
                else f"the down-sampling of {n_levels} levels"
            )
            raise ValueError(
                f"data.resolution ({self.data.resolution}) must be a multiple of "
                f"{self.backbone.downsampling}, {cause}"
            )
        sides = self.backbone.sides(self.data.resolution)
        strange = sorted(set(self.backbone.attention_resolutions) - set(sides))
        if strange:
            raise ValueError(
                f"backbone.attention_resolutions names {strange}, but feature maps have sides {sides}"
            )
        smallest = 3 * 2**self.discriminator.layers
        if self.loss.adversarial_weight > 0.0 and self.data.resolution < smallest:
            raise MisfitError(
                f"a discriminator of {self.discriminator.layers} layers needs images of {smallest} pixels, "
                f"data.resolution is {self.data.resolution}",
                "set fewer discriminator.layers",
            )
        if self.mask.kind in TRUE_KINDS and not self.data.has_true_masks:
            raise MisfitError(
                f"mask.kind '{self.mask.kind}' needs true object masks, which data.name "
                f"'{self.data.set or self.data.name}' has not",
                f"set data.name to one of {', '.join(WITH_TRUE_MASKS)}, or to torchvision with data.set one "
                f"of {', '.join(SETS_WITH_TRUE_MASKS)}",
            )
        if self.mask.kind == "dual_grain":
            self._dual_grain_fits()
        scores_learn = self.mask.product_in_use != "none" or self.loss.scorer_weight > 0.0
        if self.mask.scorer_rate != 1.0 and not scores_learn:
            raise MisfitError(
                "mask.scorer_rate is given, but there is neither a product with scores nor a loss of their "
                "own by which they would learn",
                "set mask.product=straight_through or loss.scorer_weight, or mask.scorer_rate=1",
            )
        if self.loss.scorer_weight and not self.mask.chooses_by_scores:
            raise MisfitError(
                "loss.scorer_weight is of a loss of learned scores, and mask.kind "
                f"'{self.mask.kind}' chooses by none",
                "set mask.kind=adaptive, or loss.scorer_weight=0",
            )
        if self.transformer.model == "raster" and self.transformer.order != "raster":
            raise MisfitError(
                f"transformer.order is '{self.transformer.order}', but transformer.model is 'raster', whose "
                "positions are given row by row",
                "set transformer.order=raster, or transformer.model=stackformer",
            )
        if self.transformer.model == "masked_parallel" and (
            self.transformer.order != "raster" or self.transformer.first != "code"
        ):
            raise MisfitError(
                "transformer.order or transformer.first is given, but transformer.model is "
                "'masked_parallel', which draws pairs in no order, code and position at once",
                "leave them out, or set transformer.model=stackformer",
            )
        if self.transformer.model == "raster" and self.mask.ratio_in_use > 0.0:
            raise MisfitError(
                f"transformer.model 'raster' reads a code at every region, but mask.mask_ratio "
                f"({self.mask.ratio_in_use}) drops some",
                "set mask.mask_ratio=0 (or mask.kind=none), or transformer.model=stackformer",
            )
        return self

    def _dual_grain_fits(self) -> None:
        if self.grid_side % 2:
            raise MisfitError(
                "mask.kind 'dual_grain' cuts the grid into blocks of 2 x 2 regions, and it has "
                f"{self.grid_side} a side",
                "set data.resolution or the backbone's down-sampling so that the grid's side is even",
            )
        # `layers` is left alone: presets set it
        read_by_none = ("attention", "direction_constraint", "mask_update", "renormalise", "initial_trust")
        for name in read_by_none:
            if getattr(self.demask, name) != DemaskConfig.model_fields[name].default:
                raise MisfitError(
                    f"demask.{name} is given, but mask.kind 'dual_grain' copies codes and infers nothing",
                    f"leave demask.{name} out, or set mask.kind=adaptive",
                )

    @model_validator(mode="after")
    def _guidance_has_a_condition(self) -> Config:
        told = self.transformer
        if self.sampling.is_guided and (told.condition == "none" or told.condition_dropout == 0.0):
            cause = (
                "transformer.condition is none"
                if told.condition == "none"
                else "no image is shown without its condition (transformer.condition_dropout is 0)"
            )
            raise MisfitError(
                f"guidance compares what is drawn with and without its condition, but {cause}",
                "set sampling.code_guidance=1 and sampling.position_guidance=1, which turn it off",
            )
        return self

    @property
    def grid_side(self) -> int:
        """h = w: regions along a side of the feature map."""
        return self.data.resolution // self.backbone.downsampling


def preset_names() -> list[str]:
    """Names of the presets that come with mvqlab."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def load_config(preset: str | Path = "shapes32", overrides: Iterable[str] | Mapping[str, Any] = ()) -> Config:
    """Read a preset, apply overrides, check everything.

    `preset` is a preset's name or the path of a YAML file; `overrides` are ``"section.key=value"``
    strings (see `parse_override`; none twice) or a mapping from dotted keys to values.

    Raises ConfigError, listing every fault with the nearest known name.
    """
    settings = _read_preset(preset)
    for key, value in _pairs_of(overrides):
        _set(settings, key, value)
    return config_from_dict(settings)


def config_from_dict(settings: Mapping[str, Any]) -> Config:
    """Check nested plain settings and freeze them. Raises ConfigError."""
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(*map(_fault_of, error.errors())) from None


def save_config(config: Config, path: Path) -> None:
    """Write `config` as YAML that `load_config` reads back to an equal one."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def known_keys() -> list[str]:
    """Every dotted key that an override may set."""
    keys = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [f"{name}.{leaf}" for leaf in section.model_fields]
        else:
            keys.append(name)
    return keys


def _read_preset(preset: str | Path) -> dict[str, Any]:
    path = Path(preset)
    if path.suffix not in {".yaml", ".yml"}:
        path = PRESET_FOLDER / f"{preset}.yaml"
        if not path.exists():
            nearest = Fault("", f"no preset named '{preset}'", _advice_for(str(preset), preset_names()))
            raise ConfigError(f"{nearest}; known: {', '.join(preset_names())}")
    try:
        settings = read_yaml(path, "preset file")
    except YamlFileError as error:
        raise ConfigError(str(error)) from None
    return {"preset": path.stem, **settings}


def merged(*groups: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Several groups of overrides as one, in which what a later group says goes before an earlier one."""
    return {key: value for group in groups for key, value in _pairs_of(group)}


def _pairs_of(overrides: Iterable[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs = [parse_override(override) for override in overrides]
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            both = " and ".join(f"{key}={value}" for name, value in pairs if name == key)
            raise ConfigError(f"{key} is given twice, as {both}: say it once")
        if section := next((other for other in keys if key.startswith(f"{other}.")), None):
            raise ConfigError(f"{key} is given twice, by itself and inside {section}: say it once")
    return pairs


SHORT_NAMES = {  # a notebook's parameters, and the settings that they stand for
    "seed": "seed",
    "mask": "mask.kind",
    "mask_ratio": "mask.mask_ratio",
    "transformer": "transformer.model",
    "stage1_steps": "stage1.steps",
    "stage2_steps": "stage2.steps",
}


def overrides_of(parameters: Mapping[str, Any]) -> list[str]:
    """Overrides for a notebook's `parameters` that stand for settings; 0 steps leave the preset's."""
    chosen = {key: parameters[name] for name, key in SHORT_NAMES.items() if name in parameters}
    return [f"{key}={value}" for key, value in chosen.items() if not (key.endswith(".steps") and value == 0)]


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``"mask.mask_ratio=0.5"`` into its key and its value, read as the type of the setting.

    Paths and names are the text as given, numbers decimal; lists and mappings are YAML, as in a preset.
    Raises ConfigError.
    """
    key, equals, value = override.partition("=") if isinstance(override, str) else ("", "", "")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"override '{override}' must read key=value, for example mask.mask_ratio=0.5")
    try:
        return key, typed(value, annotation_of(key))
    except YamlFileError as error:
        raise ConfigError(f"override '{override}': the value is not valid YAML: {error}") from None


def annotation_of(key: str) -> Any:
    """The type of the setting with this dotted name; None where there is no such setting."""
    kind: Any = Config
    for name in key.split("."):
        fields = getattr(kind, "model_fields", {})
        kind = fields[name].annotation if name in fields else None
    return kind


def _set(settings: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        inside = settings.get(section) or {}
        if not isinstance(inside, dict):
            raise ConfigError(f"'{key}': {section} is a single value, it holds no settings of its own")
        settings[section] = dict(inside)
        settings = settings[section]
    settings[leaf] = value


def _fault_of(found: Mapping[str, Any]) -> Fault:
    """What pydantic found, in this tree's own words where it has some."""
    where = ".".join(str(part) for part in found["loc"] if not isinstance(part, int))
    if found["type"] == "extra_forbidden":
        return Fault(where, "unknown setting", _advice_for(where, known_keys()))
    raised = found.get("ctx", {}).get("error")
    if isinstance(raised, MisfitError):
        return Fault(where, raised.what, raised.advice)
    what = found["msg"] if raised is None else str(raised)
    if not isinstance(found.get("input"), dict | BaseModel):
        what = f"{what} (got {found['input']!r})"
    return Fault(where, what)


def _advice_for(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the known name nearest to `name`, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        leaves = {key.rsplit(".", 1)[-1]: key for key in known}
        match = difflib.get_close_matches(name.rsplit(".", 1)[-1], leaves, n=1, cutoff=0.6)
        close = [leaves[match[0]]] if match else []
    return f"did you mean '{close[0]}'?" if close else ""


MASK_KINDS = NamesOf("mask.kind")
