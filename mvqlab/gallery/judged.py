"""How good samples are, and whether they are copies: the shipped transformers before all judges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from mvqlab.config import Config, SamplingConfig
from mvqlab.data import Splits, build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.attributes.class_asked_for import drawing_with
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.extractors import build_extractor
from mvqlab.evaluation.samples.judge import judge
from mvqlab.evaluation.samples.memorisation import Memorisation
from mvqlab.evaluation.samples.possible_copies import N_SAMPLES, columns_of, nearest_in, training_images
from mvqlab.evaluation.samples.reference_features import reference_features
from mvqlab.gallery.asked import DIGITS, Asked, measured_by_model
from mvqlab.plots import nearest_training, save_figure
from mvqlab.results.table_files import write_csv
from mvqlab.sampling import sample_images
from mvqlab.zoo.shipped import shipped_told
from mvqlab.zoo.trained import Trained, load_trained

N_JUDGED, N_REAL = 256, 512
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


def judged(trained: Trained, n_samples: int) -> pd.DataFrame:
    """`judge` of `n_samples` samples of seed 1 without filters and with the published ones, by `filters`."""
    config = trained.config
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
    return pd.concat(tables, ignore_index=True)


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
