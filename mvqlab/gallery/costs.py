"""What images cost: bits under the shipped transformers, and regions where each image has its own budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from mvqlab.data import build_splits
from mvqlab.data.dataset import PictureDataset
from mvqlab.evaluation.images.budgets import budget_table
from mvqlab.evaluation.likelihood.bits import (
    BITS,
    HELD_OUT,
    TRAINING,
    bits_by_image,
    generalisation_gap,
)
from mvqlab.gallery.asked import DIGITS, Asked, measured_by_model
from mvqlab.results.summary import summarise
from mvqlab.results.table_files import write_csv
from mvqlab.training.tokens import tokenise
from mvqlab.zoo.shipped import load_stage1_named, shipped_told
from mvqlab.zoo.trained import Trained, load_trained

N_HELD_OUT, N_TRAINING = 512, 2048
BUDGET_RATIOS = (0.25, 0.5, 0.75, 0.9)
GAP = f"{HELD_OUT} minus {TRAINING}"


def make_bits(asked: Asked) -> list[Path]:
    """Write bits.csv: what images cost every transformer that is told a class."""
    path, _ = measured_by_model(
        asked,
        "bits",
        shipped_told("class"),
        lambda name: bits(load_trained(name, asked.stage1), asked),
        ["model"],
    )
    return [path]


def bits(trained: Trained, asked: Asked) -> pd.DataFrame:
    """Means with 95 % intervals over the images: a row a set and kind of bits, then a row a difference."""
    config, splits = trained.config, build_splits(trained.config.data)
    limits = {
        TRAINING: (splits.train, asked.at_most(N_TRAINING)),
        HELD_OUT: (splits.validation, asked.at_most(N_HELD_OUT)),
    }
    how: dict[str, Any] = {"order": config.transformer.order, "seed": config.seed}
    tokens = {
        name: tokenise(trained.stage1, dataset, limit=limit, **how)
        for name, (dataset, limit) in limits.items()
    }
    by_image = bits_by_image({"": trained.model}, {"": tokens})
    rows = [summarise(by_image, ["set"], BITS), generalisation_gap(by_image).assign(set=GAP)]
    table = pd.concat(rows, ignore_index=True)[["set", "metric", "n", "mean", "low", "high"]]
    return table.astype({"n": "Int64"}).assign(n_pairs=tokens[HELD_OUT].pairs.mean_length)


def make_budgets_one_model(asked: Asked) -> list[Path]:
    """Write budgets_one_model.csv: fixed shares of the regions against thresholds, at equal mean length."""
    model = load_stage1_named(asked.model)
    splits = build_splits(model.config.data)
    held_out = _images(splits.validation, asked.at_most(N_HELD_OUT))
    calibration = _images(splits.train, asked.at_most(N_HELD_OUT))
    table = budget_table(model, held_out, calibration, BUDGET_RATIOS)
    named = table.assign(model=Path(asked.model).name, images=len(held_out))
    return [write_csv(named.round(DIGITS), asked.folder / "budgets_one_model.csv")]


def _images(dataset: PictureDataset, n: int) -> Tensor:
    """The first `n` images (n, 3, H, W) in [-1, 1], or as many as there are."""
    return torch.stack([dataset[index]["image"] for index in range(min(n, len(dataset)))])
