"""Do samples show what was asked for? Shares over guidance, beside those of real images and after stage 1.

Classes are judged by a `ClassJudge`. Captions of simple scenes are judged by the attribute detector: whether
the object has the colour and the shape that were named.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from mvqlab.config import Config, SamplingConfig
from mvqlab.data import Batch, batches_in_order, build_splits
from mvqlab.evaluation.attributes.agreement import BOUND
from mvqlab.evaluation.attributes.detector import AttributeDetector
from mvqlab.evaluation.attributes.guidance import accuracy_over_guidance
from mvqlab.evaluation.judging_networks import count_right
from mvqlab.evaluation.samples.class_judge import ClassJudge, Share, data_name, share_of, whole_splits
from mvqlab.models.caption_tokenizer import CaptionTokenizer
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.start import ClassStart
from mvqlab.sampling import sample_images

GUIDANCE = (1.0, 1.5, 2.0, 3.0)
N_SAMPLES = 1000
N_RESTORED = 2000  # held-out images that go through stage 1
BATCH_SIZE = 100


def class_asked_for(
    model: PairModel,
    stage1: TokenModel,
    config: Config,
    judge: ClassJudge,
    guidance: Sequence[float] = GUIDANCE,
    n_samples: int = N_SAMPLES,
) -> pd.DataFrame:
    """How many of `n_samples` unfiltered samples, each class in turn, show their class: a row a weight.

    Columns: measure, which names figure and judge as a results table would (class_right_judge_fashion32);
    guidance; right, asked, share, low, high as in `Share`; of_real: share / real_share; real_share,
    real_asked: of held-out images as they are; restored_share, restored_asked: of the first of these after
    stage 1, which a perfect transformer would reach; judge: in words. Every weight draws from `config.seed`.

    Raises ValueError for a model that takes no class, or that guidance asks for what it never learned.
    """
    if not isinstance(model.start, ClassStart):
        raise ValueError("this model takes no class, so no class can be asked for")
    labels = torch.arange(n_samples) % model.start.n_classes
    restored = restored_right(stage1, config, judge)
    rows = []
    for weight in guidance:
        drawn = sample_images(model, stage1, drawing_with(config, weight, n_samples), labels)
        rows.append((weight, judge.right(drawn.images, labels)))
    return _table(f"class_right_{judge.column}", rows, judge.on_real, restored, judge.name)


def colour_and_shape(
    model: PairModel,
    stage1: TokenModel,
    config: Config,
    detector: AttributeDetector,
    tokenizer: CaptionTokenizer,
    guidance: Sequence[float] = GUIDANCE,
    n_samples: int = N_SAMPLES,
) -> pd.DataFrame:
    """The same of a model of captions: the object has the colour and the shape that its caption names.

    The captions are those of the first `n_samples` held-out scenes. Raises DataError, ValueError: see
    `accuracy_over_guidance`.
    """
    splits = build_splits(config.data.model_copy(update={"validation_size": n_samples}))
    drawing = drawing_with(config, 1.0, n_samples)
    table = accuracy_over_guidance(
        model, stage1, drawing, splits, detector, tokenizer=tokenizer, guidance=guidance
    )
    found = table[table["attribute"] == BOUND]
    first = found.iloc[0]
    real, restored = (
        share_of(round(first[f"{kind}_accuracy"] * first["asked"]), int(first["asked"]))
        for kind in ("real", "restored")
    )
    rows = [(row["guidance"], share_of(int(row["found"]), int(row["asked"]))) for _, row in found.iterrows()]
    column = f"colour_and_shape_detector_{data_name(config.data)}"
    return _table(column, rows, real, restored, detector.name)


@torch.no_grad()
def restored_right(stage1: TokenModel, config: Config, judge: ClassJudge) -> Share:
    """How many held-out images show their class after `stage1`: what a transformer can reach."""
    device = next(stage1.parameters()).device
    generator = torch.Generator().manual_seed(config.seed)

    def judged(batch: Batch) -> tuple[Tensor, Tensor]:
        importance = None if batch.importance is None else batch.importance.to(device)
        return judge(stage1(batch.images.to(device), importance, generator).images), batch.labels

    held_out = batches_in_order(whole_splits(config.data).validation, BATCH_SIZE, N_RESTORED)
    return share_of(*count_right(map(judged, held_out)))


def drawing_with(config: Config, weight: float, n_samples: int) -> Config:
    """`config` with guidance of that weight, no filters, and `n_samples` samples."""
    guided = {"code_guidance": weight, "position_guidance": weight}
    sampling = SamplingConfig(**{**config.sampling.without_filters().model_dump(), **guided})
    evaluation = config.evaluation.model_copy(update={"samples": n_samples, "batch_size": BATCH_SIZE})
    return config.model_copy(update={"sampling": sampling, "evaluation": evaluation})


def _table(
    measure: str, rows: Sequence[tuple[float, Share]], real: Share, restored: Share, judge: str
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "measure": measure,
                "guidance": weight,
                **share._asdict(),
                "of_real": share.share / real.share if real.share else float("nan"),
            }
            for weight, share in rows
        ]
    ).assign(
        real_share=real.share,
        real_asked=real.asked,
        restored_share=restored.share,
        restored_asked=restored.asked,
        judge=judge,
    )
