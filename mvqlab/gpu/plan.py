"""Which models `mvqlab gpu train` trains, and how the seconds are shared among them.

Each model is a line of `PLAN`: a preset, what is changed in it, and its share of the time that is left when
all are prepared (`preparations`: steps before quantising, cuDNN's search, captures, compilation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from mvqlab.config import Config, load_config, merged


@dataclass(frozen=True)
class Planned:
    """A model to train. stage1: the planned stage 1 that a transformer belongs to. seconds: of training once
    it is prepared, to be stretched or shortened as all others are."""

    name: str
    group: str  # the bundle that it comes back in
    data: str
    preset: str
    seconds: float
    overrides: tuple[str, ...] = ()
    stage1: str | None = None


# Seconds that preparing a model takes before its captured steps begin, by stage, and what its blocks add if
# they are the first that are compiled: as it was on an H100 (results/gpu), with 300 steps before quantising.
PREPARING = {1: 14.0, 2: 1.0}
COMPILING = {1: 32.0, 2: 7.0}

Changes = tuple[str, ...]
LARGE_BATCH: Changes = (
    "stage1.batch_size=256",
    "stage1.learning_rate=1.5e-3",
    "stage1.warmup_steps=200",
)
LARGE_BATCH += ("stage1.weight_average=0.998", "stage1.precision=bf16-mixed", "stage1.gradient_clip=1.0")
LARGE_BATCH += ("quantizer.start_step=300", "stage1.betas=[0.9,0.99]")
PATCHES: Changes = ("backbone.kind=patch", "backbone.block=depthwise", "backbone.base_channels=160")
PATCHES += ("backbone.residual_blocks=2", "backbone.feature_dim=96", "demask.layers=3")
SMALL_PATCHES: Changes = (*PATCHES, "backbone.base_channels=96", "backbone.feature_dim=64")
LONG: Changes = ("stage2.batch_size=256", "stage2.learning_rate=1e-3", "stage2.warmup_steps=200")
LONG += ("stage2.weight_average=0.999", "stage2.precision=bf16-mixed", "stage2.gradient_clip=1.0")
PLAIN: Changes = ("mask.kind=none", "mask.mask_ratio=0", "transformer.model=raster")
SIMPLE: Changes = (
    *SMALL_PATCHES,
    "backbone.base_channels=64",
    "backbone.feature_dim=48",
    "demask.layers=2",
)
SIMPLE += ("quantizer.codebook_size=256", "transformer.width=112")
CAPTIONED: Changes = ("transformer.condition=caption", "transformer.caption_length=16")
FASHION: Changes = (*SMALL_PATCHES, "transformer.width=144", "transformer.code_layers=3")
EMOJI: Changes = (*PATCHES, "mask.evaluation_ratio=0.75", "transformer.width=160")
EMOJI_128: Changes = (
    *EMOJI,
    "data.resolution=128",
    "backbone.patch_size=8",
    "backbone.base_channels=192",
)

PLAN = (
    Planned("fashion_mqvae", "fashion", "fashion", "fashion32", 25, (*FASHION, *LARGE_BATCH)),
    Planned("fashion_stackformer", "fashion", "fashion", "fashion32", 45, (*FASHION, *LONG), "fashion_mqvae"),
    Planned("simple_mqvae", "simple", "simple", "simple32", 12, (*SIMPLE, *LARGE_BATCH)),
    Planned("simple_stackformer", "simple", "simple", "simple32", 22, (*SIMPLE, *LONG), "simple_mqvae"),
    Planned("emoji_mqvae", "emoji", "emoji", "emoji64", 80, (*EMOJI, *LARGE_BATCH)),
    Planned("anything_mqvae", "anything", "anything", "anything64", 110, (*PATCHES, *LARGE_BATCH)),
    Planned("emoji_stackformer", "emoji", "emoji", "emoji64", 45, (*EMOJI, *LONG), "emoji_mqvae"),
    Planned(
        "simple_captions",
        "simple",
        "simple_captions",
        "simple32",
        28,
        (*SIMPLE, *CAPTIONED, *LONG),
        "simple_mqvae",
    ),
    Planned("fashion_plain_vq", "plain", "fashion", "fashion32", 20, (*FASHION, *PLAIN, *LARGE_BATCH)),
    Planned(
        "fashion_raster",
        "plain",
        "fashion",
        "fashion32",
        45,
        (*FASHION, *PLAIN, *LONG),
        "fashion_plain_vq",
    ),
    Planned("simple_plain_vq", "plain", "simple", "simple32", 10, (*SIMPLE, *PLAIN, *LARGE_BATCH)),
    Planned("simple_raster", "plain", "simple", "simple32", 22, (*SIMPLE, *PLAIN, *LONG), "simple_plain_vq"),
    Planned("emoji128_mqvae", "emoji128", "emoji", "emoji64", 70, (*EMOJI_128, *LARGE_BATCH)),
)


class PlanError(ValueError):
    """A model that is asked for is not in the plan. The message says which are."""


def config_of(planned: Planned, overrides: Iterable[str]) -> Config:
    """The settings of a model of the plan, with `overrides` after its own."""
    own = ([change] for change in planned.overrides)  # which build on one another: later ones go first
    return load_config(planned.preset, merged(*own, overrides))


def preparations(plan: Iterable[Planned], device: torch.device, compile_blocks: bool) -> dict[str, float]:
    """Seconds that preparing each model of `plan` takes, by name, roughly; 0 where nothing is captured."""
    seconds: dict[str, float] = {}
    compiled: set[int] = set()
    for planned in plan:
        stage = 1 if planned.stage1 is None else 2
        is_first = compile_blocks and stage not in compiled
        compiled.add(stage)
        seconds[planned.name] = (
            PREPARING[stage] + is_first * COMPILING[stage] if device.type == "cuda" else 0.0
        )
    return seconds


def that_fit(
    plan: Iterable[Planned], seconds: float, device: torch.device, compile_blocks: bool
) -> list[Planned]:
    """As many models of `plan`, from its first, as can be prepared in half of `seconds`."""
    fitting = list(plan)
    while fitting and sum(preparations(fitting, device, compile_blocks).values()) > seconds / 2.0:
        fitting.pop()
    return fitting


def training_seconds(waiting: Sequence[Planned], left: float, preparing: dict[str, float]) -> float:
    """Seconds that the first of `waiting` trains: its share of those `left` when all of them are prepared."""
    for_training = left - sum(preparing[planned.name] for planned in waiting)
    return max(0.0, for_training) * waiting[0].seconds / sum(planned.seconds for planned in waiting)
