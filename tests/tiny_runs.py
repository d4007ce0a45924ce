"""The one list of tiny settings, and runs of both stages as training leaves them, tiny and untrained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvqlab.config import Config, TransformerConfig, load_config
from mvqlab.models.caption_tokenizer import train_caption_tokenizer
from mvqlab.models.mqvae import TokenModel, build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.training import build_transformer, train_stage2
from mvqlab.training.run_settings import save_settings
from mvqlab.training.weights import save_weights

# Sizes of all tests, and length of trainings that only have to run; what a test is about comes on top.
TINY = [
    "data.resolution=16",
    "data.train_size=20",
    "data.validation_size=10",
    "backbone.base_channels=4",
    "backbone.channel_multipliers=[1,2,4]",
    "backbone.feature_dim=16",
    "backbone.norm_groups=2",  # of one channel each, biases before a norm would have no gradient
    "backbone.zero_init=false",
    "quantizer.codebook_size=16",
    "quantizer.code_dim=8",
    "quantizer.start_step=1",
    "demask.layers=1",
    "discriminator.base_channels=8",
    "discriminator.layers=2",
    "stage1.steps=3",
    "stage1.batch_size=4",
    "transformer.code_layers=1",
    "transformer.position_layers=1",
    "transformer.width=16",
    "transformer.heads=2",
    "transformer.vocabulary_size=300",
    "transformer.caption_length=24",
    "stage2.steps=3",
    "stage2.batch_size=4",
    "evaluation.samples=10",
    "evaluation.judge_seeds=2",
    "evaluation.judge_steps=1",
]
KINDS = {
    "code_first": [],
    "position_first": ["transformer.first=position"],
    "score_order": ["transformer.order=score"],
    "any_order": ["transformer.order=random", "transformer.first=position"],
    "budgets": ["mask.budget=threshold"],
    "masked_parallel": ["transformer.model=masked_parallel"],
    "raster": ["mask.kind=none", "mask.mask_ratio=0", "transformer.model=raster"],
    "classes": ["transformer.condition=class", "transformer.condition_dropout=0.2"],
    "told_always": ["transformer.condition=class", "transformer.condition_dropout=0.0"],
    "captions": ["transformer.condition=caption"],
}
CAPTIONS = ["a red disc", "a small green bar", "a red star and a blue ring"]
SIDE, N_PAIRS, N_CLASSES = 4, 8, 8  # N_PAIRS: but for raster, which has 16, and budgets, which have up to 16


def tiny_overrides(*changes: str) -> list[str]:
    """TINY with `changes`, each for what was said of the same setting before."""
    return list({one.partition("=")[0]: one for one in (*TINY, *changes)}.values())


def tiny(*changes: str, preset: str = "shapes32") -> Config:
    """The settings of `preset` at the sizes of TINY, with `changes`: see `tiny_overrides`."""
    return load_config(preset, tiny_overrides(*changes))


def tiny_transformer(**changes: object) -> TransformerConfig:
    """The transformer of these settings, with `changes`."""
    return TransformerConfig(**{**tiny().transformer.model_dump(), **changes})


def tiny_stage1(*changes: str) -> TokenModel:
    """An untrained stage 1 of these settings, always the same, in evaluation mode."""
    torch.manual_seed(0)
    return build_stage1(tiny(*changes)).eval()


def stage2_at_once_and_in_two(
    config: Config, stage1: TokenModel, folder: Path, stop_at: int
) -> tuple[PairModel, PairModel]:
    """The transformer of `config` trained in one go, and once more, stopped after a step and gone on with."""
    at_once = train_stage2(config, stage1, folder / "at_once")

    def stop(step: int, values: dict[str, float]) -> None:
        if step >= stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage2(config, stage1, folder / "cut", on_step=stop)
    return at_once, train_stage2(config, stage1, folder / "cut", resume=True)


def write_run(folder: Path, kind: str) -> tuple[Path, Path]:
    """Folders of stage 1 and stage 2, whose random weights make every image and every class another."""
    torch.manual_seed(0)
    config = tiny(*KINDS[kind])
    of_stage1, of_stage2 = folder / "stage1", folder / "stage2"
    stage1 = build_stage1(config)
    stage2 = build_transformer(config, stage1, n_classes=N_CLASSES)
    with torch.no_grad():
        for parameter in stage2.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # so that every part has a say
    for run, model in ((of_stage1, stage1), (of_stage2, stage2)):
        save_settings(config, run)
        save_weights(model, run / "weights.safetensors")
    if kind == "captions":
        settings = config.transformer
        sizes = settings.vocabulary_size, settings.caption_length
        train_caption_tokenizer(CAPTIONS, *sizes).save(of_stage2)
    return of_stage1, of_stage2
