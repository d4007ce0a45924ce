"""All judges of generated images in one table, each figure with its interval and the extractor's name."""

from __future__ import annotations

from math import inf

import pandas as pd
from torch import Tensor

from mvqlab.evaluation.intervals import Interval, subset_intervals
from mvqlab.evaluation.samples.distances import (
    frechet_distance,
    frechet_distance_of_few,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.evaluation.samples.inception_score import inception_score
from mvqlab.evaluation.samples.memorisation import memorisation, suspected_interval
from mvqlab.evaluation.samples.sets import set_distances, shares

RESAMPLES = 200
BALL_NEIGHBOURS = 5  # of density and coverage
LOWER_IS_BETTER = {"fid", "kid", "suspected"}
LEAST = {"fid": 0.0, "is": 1.0, "density": 0.0}
SHARES_OF = {"precision": "generated", "recall": "real", "coverage": "real"}  # images


def judge(
    real: Tensor,
    generated: Tensor,
    extractor: FeatureExtractor,
    resamples: int = RESAMPLES,
    seed: int = 0,
    k: int = 3,
    training: Tensor | None = None,
) -> pd.DataFrame:
    """Judge `generated` (m, F) against `real` features (n, F) of `extractor`; see `features_of`.

    A row a figure: metric, value, low, high (95 %, see `intervals`; nan where `resamples` is 0 or a set has
    fewer than ten images), better (lower or higher), extractor, real_images, generated_images. k: neighbours
    of precision and recall; density and coverage take 5, as their authors do. What counts neighbours is nan
    where there are fewer images than that. With features (N, F) of the `training` images and held-out
    `real` ones there is a row more, suspected: the share of images that may be copies, see `memorisation`.
    Raises ValueError for fewer than two images.
    """
    rows = judge_rows(real, generated, extractor, resamples, seed, k)
    if training is not None:
        found = memorisation(generated, training, held_out=real)
        rows["suspected"] = suspected_interval(found, resamples, seed)
    table = [
        {"metric": metric, **row._asdict(), "better": "lower" if metric in LOWER_IS_BETTER else "higher"}
        for metric, row in rows.items()
    ]
    return pd.DataFrame(table).assign(
        extractor=extractor.name, real_images=len(real), generated_images=len(generated)
    )


def judge_rows(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, resamples: int, seed: int = 0, k: int = 3
) -> dict[str, Interval]:
    """The same as intervals by name: fid, kid, is, precision, recall, density, coverage."""
    answers = extractor.answers(generated)
    among = set_distances(real, generated)
    has_many_features = real.shape[1] > min(len(real), len(generated))
    frechet = frechet_distance_of_few if has_many_features else frechet_distance

    def figures(real_rows: Tensor, generated_rows: Tensor) -> dict[str, float]:
        both = real[real_rows], generated[generated_rows]
        score = {} if answers is None else {"is": inception_score(answers[generated_rows])}
        return {
            "fid": frechet(*both),
            "kid": unbiased_kernel_distance(*both),
            **score,
            **shares(among.of_rows(real_rows, generated_rows), k, BALL_NEIGHBOURS),
        }

    found = subset_intervals(figures, (len(real), len(generated)), resamples, seed)
    sizes = {"real": len(real), "generated": len(generated)}
    return {
        name: row.of_share(sizes[SHARES_OF[name]])
        if name in SHARES_OF
        else row.clipped(LEAST.get(name, -inf))
        for name, row in found.items()
    }
