"""The Inception score (Salimans et al. 2016): sure of each image, and of something else each time."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from mvqlab.support.finite import check_finite
from mvqlab.support.torchvision_guard import import_torchvision


def inception_score(logits: Tensor) -> float:
    """exp of the mean divergence of p(y|x) from p(y), from a classifier's logits (m, C) of m images.

    1 if all images are answered alike, C if every answer is sure and all come equally often. It looks at
    no real image. Figures of two classifiers do not compare. Raises NonFiniteError.
    """
    check_finite("logits of a classifier on generated images", logits)
    import_torchvision()
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `InceptionScore` will save")
        warnings.filterwarnings("ignore", message="std\\(\\): degrees of freedom")  # of a single split
        metric = InceptionScore(feature=nn.Identity(), splits=1)
        metric.update(logits.double())
        mean, _ = metric.compute()
    return float(mean)
