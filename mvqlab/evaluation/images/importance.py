"""Does the model keep the regions that matter? Scores and kept regions against true object masks.

A region counts as important if at least half of its pixels lie on an object.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mvqlab.models.scorers import region_coverage
from mvqlab.support.finite import check_finite

OBJECT_SHARE = 0.5  # share of a region's pixels on an object from which it is important


class ImportanceAgreement(NamedTuple):
    """Agreement of scores and kept regions with the true mask, each averaged over images.

    score_auc: probability that an important region scores above an unimportant one of the same image;
    0.5 is chance; nan where the model has no scores. kept_iou: intersection over union of the kept and
    the important regions, 0 to 1. kept_iou_chance: what keeping as many regions at random gives in
    expectation. kept_iou_best: what the best choice of as many regions gives. importance_images: the
    images it is all computed over, those with both important and unimportant regions. All nan and 0
    where the data has no masks or no such image.
    """

    score_auc: float
    kept_iou: float
    kept_iou_chance: float
    kept_iou_best: float
    importance_images: int


NOTHING_KNOWN = ImportanceAgreement(torch.nan, torch.nan, torch.nan, torch.nan, 0)


def importance_agreement(
    scores: Tensor, is_kept: Tensor, importance: Tensor | None, object_share: float = OBJECT_SHARE
) -> ImportanceAgreement:
    """Hold scores (n, L) and kept regions (n, L) against object masks (n, H, W), or None if unknown.

    AUC is taken within each image, since regions compete within an image, then averaged. Raises
    NonFiniteError.
    """
    check_finite("scores of regions", scores)
    if importance is None:
        return NOTHING_KNOWN
    important = important_regions(importance, side=round(scores.shape[1] ** 0.5), object_share=object_share)
    usable = important.any(dim=1) & ~important.all(dim=1)
    if not usable.any():
        return NOTHING_KNOWN
    scores, is_kept, important = scores[usable], is_kept[usable], important[usable]
    n_kept, n_important = is_kept.sum(dim=1), important.sum(dim=1)
    best = torch.minimum(n_kept, n_important).double() / torch.maximum(n_kept, n_important)
    return ImportanceAgreement(
        score_auc=_mean_auc(scores, important),
        kept_iou=float(_iou(is_kept, important).mean()),
        kept_iou_chance=_mean_chance(n_kept, n_important, scores.shape[1]),
        kept_iou_best=float(best.mean()),
        importance_images=len(scores),
    )


def important_regions(importance: Tensor, side: int, object_share: float = OBJECT_SHARE) -> Tensor:
    """Important regions (n, L) bool of object masks (n, H, W), on a grid of side * side = L."""
    return region_coverage(importance, side) >= object_share


def expected_random_iou(n_kept: int, n_important: int, n_positions: int) -> float:
    """Expected IoU of `n_kept` regions drawn at random of `n_positions`, `n_important` being important.

    The number of hits is hypergeometric; k hits give an IoU of k / (n_kept + n_important - k).
    """
    from scipy.stats import hypergeom

    hits = np.arange(min(n_kept, n_important) + 1)
    chances = hypergeom(n_positions, n_important, n_kept).pmf(hits)
    return float((chances * hits / (n_kept + n_important - hits)).sum())


def _iou(first: Tensor, second: Tensor) -> Tensor:
    return (first & second).sum(dim=1).double() / (first | second).sum(dim=1)


def _mean_auc(scores: Tensor, important: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    if (scores == scores[:, :1]).all():
        return torch.nan
    aucs = [
        roc_auc_score(truth, score) for truth, score in zip(important.numpy(), scores.numpy(), strict=True)
    ]
    return float(sum(aucs) / len(aucs))


def _mean_chance(n_kept: Tensor, n_important: Tensor, n_positions: int) -> float:
    cases, how_often = torch.stack([n_kept, n_important]).unique(dim=1, return_counts=True)
    chances = [expected_random_iou(kept, hit, n_positions) for kept, hit in cases.T.tolist()]
    return float((torch.tensor(chances).double() * how_often).sum() / how_often.sum())
