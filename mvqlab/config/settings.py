"""The one tree of settings: what can be set, in which unit, from which source, with which default.

A run is described by a `Config`. It comes from a preset (a YAML file beside this one, or your own),
changed by ``key=value`` overrides, and is checked as a whole before anything starts::

    config = load_config("shapes32", ["mask.mask_ratio=0.75", "stage1.steps=200"])

The same names stand in a preset, a grid file, a notebook's parameters and a results table. What can be said
of the images stands in data.py, what of the stage-1 model in stage1_model.py, and the rest here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from mvqlab.config.data import DataConfig
from mvqlab.config.fits import CHECKS
from mvqlab.config.recipes import filled_in
from mvqlab.config.section import Section
from mvqlab.config.stage1_model import BackboneConfig, DemaskConfig, MaskConfig, QuantizerConfig
from mvqlab.config.value_types import (
    AtLeastTwo,
    Batch,
    CaptionTokens,
    Channels,
    Count,
    Extractors,
    Measured,
    Momentum,
    NoneOrTwo,
    NonNegative,
    Positive,
    Ratio,
    Redrawn,
    Rows,
    Seed,
    SomeLayers,
    SomeRows,
    Weight,
)
from mvqlab.config.words import (
    ExtractorName,
    PairModelKind,
    PairOrder,
    Perceptual,
    Precision,
    or_own,
)


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
    """Stackformer (section 3.2 of the paper), the raster baseline, or a rival of both."""

    model: Annotated[str, or_own("transformer.model", get_args(PairModelKind))] = "stackformer"
    first: Literal["code", "position"] = "code"  # what a pair's first transformer predicts
    # order of the pairs in a sequence: by position, by falling score, or any, drawn anew at every step; where
    # a pair goes is a part of what is said in all of them (RAR, by contrast, is told the order)
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
    position_top_k: NonNegative = 10  # 0 is off; `masked_parallel` reads neither of these two
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
