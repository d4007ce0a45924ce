"""All judges of generated images in one table, each figure with its interval and the extractor's name."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from math import inf, nan

import pandas as pd
from torch import Tensor

from mvqlab.evaluation.intervals import Interval, subset_intervals
from mvqlab.evaluation.samples.distances import (
    quick_frechet_distance,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.inception_score import inception_score
from mvqlab.evaluation.samples.memorisation import memorisation, suspected_interval
from mvqlab.evaluation.samples.sets import set_distances, shares

RESAMPLES = 200
BALL_NEIGHBOURS = 5  # of density and coverage
LOWER_IS_BETTER = {"fid", "kid", "suspected"}
LEAST = {"fid": 0.0, "is": 1.0, "density": 0.0}
SHARES_OF = {"precision": "generated", "recall": "real", "coverage": "real"}  # images

Rows = Tensor | slice
Figures = Callable[[Rows, Rows], dict[str, float]]


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
    fewer than ten images), spread (standard deviation over the extractor's judges, nan of a single one),
    better (lower or higher), extractor, real_images, generated_images. k: neighbours of precision and
    recall; density and coverage take 5, as their authors do. What counts neighbours is nan where there are
    fewer images than that. With features (N, F) of the `training` images and held-out `real` ones there is a
    row more, suspected: the share of images that may be copies, see `memorisation`.
    Raises ValueError for fewer than two images.
    """
    rows = judge_rows(real, generated, extractor, resamples, seed, k)
    if training is not None:
        found = memorisation(generated, training, held_out=real)
        rows["suspected"] = suspected_interval(found, resamples, seed)
    over_judges = spreads(real, generated, extractor, k)
    table = [
        {
            "metric": metric,
            **row._asdict(),
            "spread": over_judges.get(metric, nan),
            "better": "lower" if metric in LOWER_IS_BETTER else "higher",
        }
        for metric, row in rows.items()
    ]
    return pd.DataFrame(table).assign(
        extractor=extractor.name, real_images=len(real), generated_images=len(generated)
    )


def judge_rows(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, resamples: int, seed: int = 0, k: int = 3
) -> dict[str, Interval]:
    """The same as intervals by name: fid, kid, is, precision, recall, density, coverage.

    Of an extractor of several judges each figure is the mean over them, and its interval that of the mean.
    """
    of_members = [_figures(*of_member, k) for of_member in _by_member(real, generated, extractor)]

    def figures(real_rows: Tensor, generated_rows: Tensor) -> dict[str, float]:
        found = [of_member(real_rows, generated_rows) for of_member in of_members]
        return {name: statistics.fmean(one[name] for one in found) for name in found[0]}

    found = subset_intervals(figures, (len(real), len(generated)), resamples, seed)
    sizes = {"real": len(real), "generated": len(generated)}
    return {
        name: row.of_share(sizes[SHARES_OF[name]])
        if name in SHARES_OF
        else row.clipped(LEAST.get(name, -inf))
        for name, row in found.items()
    }


def judge_columns(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, resamples: int, seed: int = 0
) -> dict[str, float]:
    """The same as columns of a results table, fid_judge and so on; with `resamples` also _low and _high.

    Of an extractor of several judges there is their standard deviation, too, in _spread.
    """
    columns: dict[str, float] = {}
    for name, interval in judge_rows(real, generated, extractor, resamples, seed).items():
        column = f"{name}_{extractor.column}"
        columns[column] = interval.value
        if resamples:
            columns |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
    over_judges = spreads(real, generated, extractor)
    return columns | {f"{name}_{extractor.column}_spread": spread for name, spread in over_judges.items()}


def spreads(real: Tensor, generated: Tensor, extractor: FeatureExtractor, k: int = 3) -> dict[str, float]:
    """Standard deviation of each figure over the extractor's judges, by name; nothing of a single one."""
    if len(extractor.members) < 2:
        return {}
    found = [
        _figures(*of_member, k)(slice(None), slice(None))
        for of_member in _by_member(real, generated, extractor)
    ]
    return {name: statistics.stdev(one[name] for one in found) for name in found[0]}


def _by_member(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor
) -> list[tuple[FeatureExtractor, Tensor, Tensor]]:
    both = extractor.by_member(real), extractor.by_member(generated)
    return list(zip(extractor.members, *both, strict=True))


def _figures(extractor: FeatureExtractor, real: Tensor, generated: Tensor, k: int) -> Figures:
    """All figures of one network, as a function of the rows to look at."""
    answers = extractor.answers(generated)
    among = set_distances(real, generated)

    def figures(real_rows: Rows, generated_rows: Rows) -> dict[str, float]:
        both = real[real_rows], generated[generated_rows]
        score = {} if answers is None else {"is": inception_score(answers[generated_rows])}
        return {
            "fid": quick_frechet_distance(*both),
            "kid": unbiased_kernel_distance(*both),
            **score,
            **shares(among.of_rows(real_rows, generated_rows), k, BALL_NEIGHBOURS),
        }

    return figures
