"""Does a transformer draw what it is asked for, and does guidance help? Accuracies over guidance weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from mvqlab.config import Config, SamplingConfig
from mvqlab.data import DataError, Splits, batches_in_order
from mvqlab.data.shapes import ShapesDataset
from mvqlab.evaluation.attributes.agreement import CLASS, NAMED, Agreement, agreement, asked_of
from mvqlab.evaluation.attributes.detector import AttributeDetector
from mvqlab.evaluation.images.reconstruction import collect
from mvqlab.models.caption_tokenizer import CaptionTokenizer
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.sampling import sample_images

Guided = Literal["codes and positions", "codes", "positions"]

GUIDANCE = (0.0, 1.0, 1.5, 2.0, 3.0)  # 0 leaves the condition out, 1 is no guidance


def accuracy_over_guidance(
    model: PairModel,
    stage1: TokenModel,
    config: Config,
    splits: Splits,
    detector: AttributeDetector,
    *,
    tokenizer: CaptionTokenizer | None = None,
    guidance: Sequence[float] = GUIDANCE,
    guided: Sequence[Guided] = ("codes and positions",),
) -> pd.DataFrame:
    """How often images have what they were asked for: a row an attribute, guidance weight and part guided.

    The first `config.evaluation.samples` held-out scenes say what is asked for: their classes, or their
    captions, for which `tokenizer` is needed. Every row draws from `config.seed`, otherwise as
    `config.sampling` says; where only codes or only positions are guided, the other part has weight 1.

    Columns: guided, guidance, attribute; asked, found, accuracy, accuracy_low, accuracy_high, chance, seen
    and precision as in `Agreement`; real_accuracy, the same of the scenes' own pictures; restored_accuracy,
    of these after stage 1, which a perfect transformer would reach; judge_accuracy and judge: the
    detector's own.

    Raises DataError where scenes are not known or are of a kind that `detector` did not learn, ValueError if
    the model takes no condition or the guidance asks for what it never learned.
    """
    if not isinstance(splits.validation, ShapesDataset):
        raise DataError("attributes are only known of drawn scenes: use a model of data.name=shapes")
    kind = splits.validation.kind
    if kind != detector.scene:
        raise DataError(
            f"the detector learned {detector.scene} scenes, and these are {kind} ones: take "
            f"attribute_detector(scene='{kind}')"
        )
    n_images = min(config.evaluation.samples, len(splits.validation))
    config = config.model_copy(
        update={"evaluation": config.evaluation.model_copy(update={"samples": n_images})}
    )
    names, conditions = _condition(model, splits.validation, n_images, tokenizer)
    if any(weight != 1.0 for weight in guidance):
        model.start.null(1)
    batches = batches_in_order(splits.validation, config.evaluation.batch_size, n_images)
    held_out = collect(stage1, batches, config.seed)
    real, restored = detector(held_out.images), detector(held_out.reconstructions)
    asked = asked_of([splits.validation.scene(index) for index in range(n_images)])
    drawn: dict[SamplingConfig, dict[str, Tensor]] = {}
    rows = []
    for part, weight in product(guided, guidance):
        settings = _guidance(config.sampling, part, weight)
        if settings not in drawn:
            sampling = config.model_copy(update={"sampling": settings})
            drawn[settings] = detector(sample_images(model, stage1, sampling, conditions).images)
        for name in names:
            of_drawn = _columns(agreement(asked[name], drawn[settings][name]))
            of_real = {
                "real_accuracy": agreement(asked[name], real[name]).accuracy,
                "restored_accuracy": agreement(asked[name], restored[name]).accuracy,
                "judge_accuracy": detector.accuracies[name],
                "judge": detector.name,
            }
            rows.append({"guided": part, "guidance": weight, "attribute": name, **of_drawn, **of_real})
    return pd.DataFrame(rows)


def _columns(found: Agreement) -> dict[str, float]:
    return {
        "asked": found.asked,
        "found": found.found,
        "accuracy": found.accuracy,
        "accuracy_low": found.low,
        "accuracy_high": found.high,
        "chance": found.chance,
        "seen": found.seen,
        "precision": found.precision,
    }


def _condition(
    model: PairModel, dataset: ShapesDataset, n_images: int, tokenizer: CaptionTokenizer | None
) -> tuple[Sequence[str], Tensor]:
    """Which attributes the model is told, and the conditions that tell it those of the first scenes."""
    if isinstance(model.start, ClassStart):
        return (CLASS,), torch.tensor([dataset[index]["label"] for index in range(n_images)])
    if not isinstance(model.start, CaptionStart):
        raise ValueError("this model is unconditional: it cannot be asked for anything")
    if tokenizer is None:
        raise ValueError("a model of captions needs its tokenizer: load_caption_tokenizer(FOLDER)")
    return NAMED, tokenizer.encode([dataset.caption(index) for index in range(n_images)])


def _guidance(settings: SamplingConfig, part: Guided, weight: float) -> SamplingConfig:
    return settings.model_copy(
        update={
            "code_guidance": 1.0 if part == "positions" else weight,
            "position_guidance": 1.0 if part == "codes" else weight,
        }
    )
