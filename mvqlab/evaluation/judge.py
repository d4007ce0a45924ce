"""All judges of generated images in one table, each figure with its interval and the extractor's name."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from mvqlab.evaluation.density_coverage import density_coverage
from mvqlab.evaluation.extractors import FeatureExtractor
from mvqlab.evaluation.generation import frechet_distance, unbiased_kernel_distance
from mvqlab.evaluation.inception_score import inception_score
from mvqlab.evaluation.intervals import Interval, interval_of, interval_of_mean
from mvqlab.evaluation.precision_recall import lies_within

RESAMPLES = 200
BALL_NEIGHBOURS = 5  # of density and coverage


def judge(
    real: Tensor,
    generated: Tensor,
    extractor: FeatureExtractor,
    resamples: int = RESAMPLES,
    seed: int = 0,
    k: int = 3,
) -> pd.DataFrame:
    """Judge `generated` (m, F) against `real` features (n, F) of `extractor`; see `features_of`.

    A row a figure: metric, value, low, high (95 %, see `intervals`; nan where `resamples` is 0), better
    (lower or higher), extractor, real_images, generated_images. k: neighbours of precision and recall;
    density and coverage take 5, as their authors do. What counts neighbours is nan where there are fewer
    images than that. Raises ValueError for fewer than two images.
    """
    rows = judge_rows(real, generated, extractor, resamples, seed, k)
    lower = {"fid", "kid"}
    table = [
        {"metric": metric, **row._asdict(), "better": "lower" if metric in lower else "higher"}
        for metric, row in rows.items()
    ]
    return pd.DataFrame(table).assign(
        extractor=extractor.name, real_images=len(real), generated_images=len(generated)
    )


def judge_rows(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, resamples: int, seed: int = 0, k: int = 3
) -> dict[str, Interval]:
    """The same as intervals by name: fid, kid, is, precision, recall, density, coverage."""
    both = (real, generated)
    rows = {
        "fid": interval_of(frechet_distance, both, resamples, seed),
        "kid": interval_of(unbiased_kernel_distance, both, resamples, seed),
    }
    answers = extractor.answers(generated)
    if answers is not None:
        rows["is"] = interval_of(inception_score, (answers,), resamples, seed)
    shares = _shares(real, generated, k)
    return rows | {name: interval_of_mean(values, resamples, seed) for name, values in shares.items()}


def _shares(real: Tensor, generated: Tensor, k: int) -> dict[str, Tensor]:
    """Figures that are means over images, image by image."""
    if min(len(real), len(generated)) <= max(k, BALL_NEIGHBOURS):
        unknown = real.new_full((1,), torch.nan)
        return dict.fromkeys(("precision", "recall", "density", "coverage"), unknown)
    balls = density_coverage(real, generated, BALL_NEIGHBOURS)
    return {
        "precision": lies_within(generated, real, k),
        "recall": lies_within(real, generated, k),
        "density": balls.density,
        "coverage": balls.coverage,
    }
