"""How good samples are, and whether they are copies: the shipped transformers before all judges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from mvqlab.config import Config, EvaluationConfig, SamplingConfig
from mvqlab.data import Splits, build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.attributes.class_asked_for import drawing_with
from mvqlab.evaluation.samples.class_judge import whole_splits
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.extractors import build_extractor, build_extractors
from mvqlab.evaluation.samples.judge import judge, judge_rows
from mvqlab.evaluation.samples.memorisation import Memorisation
from mvqlab.evaluation.samples.over_temperature import judged_over_temperature
from mvqlab.evaluation.samples.possible_copies import (
    N_SAMPLES,
    BlurredPixels,
    columns_of,
    nearest_in,
    possible_copies,
    training_images,
)
from mvqlab.evaluation.samples.reference_features import reference_features
from mvqlab.evaluation.samples.yardsticks import (
    REAL,
    RESTORED,
    judged_images,
    yardstick_images,
    yardsticks,
)
from mvqlab.gallery.asked import DIGITS, Asked, measured_by_model
from mvqlab.gallery.rates import MASKED, PLAIN, data_of
from mvqlab.models.mqvae import MQVAE
from mvqlab.plots import nearest_training, precision_recall_curves, save_figure
from mvqlab.results.table_files import write_csv
from mvqlab.sampling import sample_images
from mvqlab.zoo.shipped import is_shipped, load_stage1_named, shipped_told
from mvqlab.zoo.trained import Trained, load_trained

N_JUDGED, N_REAL = 256, 512
YARDSTICKS_OF = ("fashion_mqvae", "simple_mqvae")
N_SHOWN = 8  # samples beside their nearest training images


def make_judges(asked: Asked) -> list[Path]:
    """Write judges.csv: every judge of samples, drawn without filters and with the published ones."""
    path, _ = measured_by_model(
        asked,
        "judges",
        shipped_told("class"),
        lambda name: judged(load_trained(name, asked.stage1), asked.at_most(N_JUDGED)),
        ["model", "filters"],
    )
    return [path]


def make_yardsticks(asked: Asked) -> list[Path]:
    """Write yardsticks.csv: what the judges say of real images, as they are, after stage 1 and made worse."""
    path, _ = measured_by_model(
        asked, "yardsticks", YARDSTICKS_OF, lambda name: yardsticks_of(name, asked), ["model"]
    )
    return [path]


def yardsticks_of(name: str, asked: Asked) -> pd.DataFrame:
    """`yardsticks` of a stage 1's data: of a shipped one by the default judges, of a run's by its own.

    As many images as the settings judge: what a run's row in a results table was judged on.
    """
    model = load_stage1_named(name)
    config = judged_now(model.config) if is_shipped(name) else model.config
    extractors = build_extractors(config, build_splits(config.data))
    n_real, n_judged = config.evaluation.images, config.evaluation.samples or N_JUDGED
    held_out = yardstick_images(
        whole_splits(config.data).validation, asked.at_most(n_real), asked.at_most(n_judged)
    )
    table = yardsticks(held_out, extractors, model)
    return table.assign(extractor="; ".join(one.name for one in extractors))


def judged_now(config: Config) -> Config:
    """`config` with the judges that are default now: shipped models name those that their cards go by."""
    judges = {"extractor": EvaluationConfig().extractor}
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=judges)})


def judged(trained: Trained, n_samples: int) -> pd.DataFrame:
    """`judge` of `n_samples` samples of seed 1 without filters and with the published ones, by `filters`.

    Real images that are not among those judged against come after them, as they are, after stage 1 and made
    worse: see `yardsticks`, whose names stand in `filters`, too.
    """
    config = judged_now(trained.config)
    splits = build_splits(config.data)
    extractor = build_extractor(config, splits)
    real = reference_features(splits.validation, splits.data_hash, "validation", extractor, N_REAL)
    training = features_of(extractor, training_images(splits), what="training images")
    tables = []
    for filters, drawing in drawings(config, n_samples).items():
        drawn = sample_images(trained.model, trained.stage1, drawing).images
        generated = features_of(extractor, drawn, what="generated images")
        found = judge(real, generated, extractor, training=training)
        tables.append(found.assign(filters=filters))
    held_out = yardstick_images(whole_splits(config.data).validation, N_REAL, n_samples)
    against = features_of(extractor, held_out.real, what="real images")
    for name, images in judged_images(held_out, trained.stage1).items():
        found = judge(against, features_of(extractor, images, what=name), extractor, resamples=0)
        tables.append(found.assign(filters=name))
    return pd.concat(tables, ignore_index=True)


def make_judged_over_temperature(asked: Asked) -> list[Path]:
    """Write judged_over_temperature.csv and .png: precision against recall, a curve a model."""
    path, table = measured_by_model(
        asked,
        "judged_over_temperature",
        shipped_told("class"),
        lambda name: over_temperature(load_trained(name, asked.stage1), asked.at_most(N_JUDGED)),
        ["data", "model", "temperature"],
    )
    shown = table.assign(model=table["transformer"].where(table["yardstick"].isna(), table["yardstick"]))
    figure = precision_recall_curves(
        shown.drop_duplicates(["data", "model", "temperature"]),
        "Precision and recall of unguided, unfiltered samples; beside each curve the temperature",
    )
    return [path, save_figure(figure, path.with_suffix(".png"))]


def over_temperature(trained: Trained, n_samples: int) -> pd.DataFrame:
    """`judged_over_temperature` of a model, and as many real images as they are and after its stage 1.

    Columns besides: transformer; data; yardstick, which names rows of real images and is empty for samples;
    extractor.
    """
    config = judged_now(trained.config)
    extractor = build_extractor(config, build_splits(config.data))
    held_out = yardstick_images(whole_splits(config.data).validation, N_REAL, n_samples)
    real = features_of(extractor, held_out.real, what="real images")
    parts = [
        judged_over_temperature(
            trained.model, trained.stage1, config, real, extractor, n_samples=n_samples
        ).assign(yardstick=None)
    ]
    way = MASKED if isinstance(trained.stage1, MQVAE) else PLAIN
    images = judged_images(held_out, trained.stage1)
    for name, words in ((REAL, "other real images"), (RESTORED, f"real, after {way}")):
        found = judge_rows(real, features_of(extractor, images[name], what=name), extractor, 0)
        figures = {column: row.value for column, row in found.items()}
        parts.append(pd.DataFrame([{**figures, "yardstick": words}]))
    together = pd.concat(parts, ignore_index=True)
    transformer = config.transformer.model
    return together.assign(transformer=transformer, data=data_of(trained.stage1), extractor=extractor.name)


def drawings(config: Config, n_samples: int) -> dict[str, Config]:
    """`config` for `n_samples` samples of seed 1, unguided: without filters, and with the published ones."""
    off = drawing_with(config, 1.0, n_samples).model_copy(update={"seed": 1})
    return {"off": off, "published": off.model_copy(update={"sampling": SamplingConfig()})}


def make_possible_copies(asked: Asked) -> list[Path]:
    """Write possible_copies.csv and .png: how many samples may be copies, and those that lie nearest."""
    trained = load_trained(asked.model, asked.stage1)
    splits = build_splits(trained.config.data)
    extractor = build_extractor(trained.config, splits)
    drawing = drawing_with(trained.config, 1.0, asked.at_most(N_SAMPLES))
    drawn = sample_images(trained.model, trained.stage1, drawing).images
    found = nearest_in(drawn, splits, extractor)
    columns = columns_of(found, extractor, trained.config.seed)
    columns |= possible_copies(drawn, splits, BlurredPixels(), trained.config.seed)
    table = pd.DataFrame([{"model": Path(asked.model).name, **columns, "extractor": extractor.name}])
    path = write_csv(table.round(DIGITS), asked.folder / "possible_copies.csv")
    return [path, save_figure(nearest_samples(drawn, splits, found), path.with_suffix(".png"))]


def nearest_samples(drawn: Tensor, splits: Splits, found: Memorisation) -> Figure:
    """The samples that lie nearest to a training image, nearest first, each over that image."""
    shown = found.nearest.distance.argsort()[:N_SHOWN]
    training = training_images(splits)[found.nearest.index[shown]]
    samples, nearest = (
        images.permute(0, 2, 3, 1).numpy() for images in (to_uint8(drawn[shown]).cpu(), training)
    )
    title = f"Of {len(drawn)} samples those nearest to a training image or its mirror image"
    return nearest_training(samples, nearest, found.nearness[shown], found.nearest.distance[shown], title)
