"""What samples show of what was asked for: by class or caption, and attribute by attribute."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mvqlab import plots
from mvqlab.data import build_splits
from mvqlab.evaluation.attributes.class_asked_for import class_asked_for, colour_and_shape, drawing_with
from mvqlab.evaluation.attributes.detector import AttributeDetector, attribute_detector
from mvqlab.evaluation.attributes.guidance import Guided, accuracy_over_guidance
from mvqlab.evaluation.samples.class_judge import class_judge
from mvqlab.gallery.asked import Asked, measured_by_model
from mvqlab.models.caption_tokenizer import CaptionTokenizer, load_caption_tokenizer
from mvqlab.plots import asked_for_over_guidance
from mvqlab.zoo.shipped import shipped_card, shipped_config, shipped_names
from mvqlab.zoo.trained import Trained, load_trained

N_CLASS_SAMPLES = 1000
N_ATTRIBUTE_SAMPLES = 256
JUDGED_BY_ATTRIBUTE = ("simple_stackformer", "simple_captions")
GUIDED: tuple[Guided, ...] = ("codes and positions", "codes", "positions")


def make_class_asked_for(asked: Asked) -> list[Path]:
    """Write class_asked_for.csv and .png: how many samples show their class, or their caption's object."""
    path, table = measured_by_model(
        asked,
        "class_asked_for",
        conditional_models(),
        lambda name: asked_for(name, asked.stage1, asked.at_most(N_CLASS_SAMPLES)),
        ["measure", "model", "guidance"],
    )
    return [path, plots.save_figure(asked_for_over_guidance(table), path.with_suffix(".png"))]


def conditional_models() -> list[str]:
    """Shipped transformers that are told a class, or a caption of a simple scene."""

    def can_be_judged(name: str) -> bool:
        config = shipped_config(name)
        condition = config.transformer.condition
        return condition == "class" or (condition == "caption" and config.data.scene == "simple")

    return [name for name in shipped_names() if shipped_card(name)["stage"] == 2 and can_be_judged(name)]


def asked_for(model: str, stage1: str | None = None, n_samples: int = N_CLASS_SAMPLES) -> pd.DataFrame:
    """`class_asked_for`, or `colour_and_shape` of a model of captions."""
    trained = load_trained(model, stage1)
    parts = trained.model, trained.stage1, trained.config
    tokenizer = _tokenizer(trained)
    if tokenizer is None:
        return class_asked_for(*parts, class_judge(trained.config.data), n_samples=n_samples)
    return colour_and_shape(*parts, _detector(trained), tokenizer, n_samples=n_samples)


def make_attributes_over_guidance(asked: Asked) -> list[Path]:
    """Write attributes_over_guidance.csv and .png: each attribute asked for, codes or positions guided."""
    path, table = measured_by_model(
        asked,
        "attributes_over_guidance",
        JUDGED_BY_ATTRIBUTE,
        lambda name: attributes(name, asked.stage1, asked.at_most(N_ATTRIBUTE_SAMPLES)),
        ["model"],
    )
    return [path, plots.save_figure(plots.guidance_lines(table), path.with_suffix(".png"))]


def attributes(model: str, stage1: str | None, n_samples: int) -> pd.DataFrame:
    """`accuracy_over_guidance` of `n_samples` unfiltered samples, with codes, positions or both guided."""
    trained = load_trained(model, stage1)
    config = drawing_with(trained.config, 1.0, n_samples)
    splits = build_splits(config.data.model_copy(update={"validation_size": n_samples}))
    parts = trained.model, trained.stage1, config, splits, _detector(trained)
    return accuracy_over_guidance(*parts, tokenizer=_tokenizer(trained), guided=GUIDED)


def _detector(trained: Trained) -> AttributeDetector:
    return attribute_detector(scene=trained.config.data.scene)


def _tokenizer(trained: Trained) -> CaptionTokenizer | None:
    if trained.config.transformer.condition != "caption":
        return None
    return load_caption_tokenizer(trained.folder)
