"""Whether a model spends more on images in which there is more: how its lengths and bits follow a codec's.

How much there is in an image is taken from JPEG, which knows no model: the bits that it takes at one quality.
Ranks are compared, so that units do not count. Tokenisers of variable length ask this of themselves, such as
One-D-Piece (arXiv 2501.10064).
"""

from __future__ import annotations

from torch import Tensor

from mvqlab.evaluation.images.codecs import coded

QUALITY = 75  # of JPEG


def complexity(images: Tensor) -> Tensor:
    """Bits (n,) that JPEG takes for each of `images` (n, 3, H, W) uint8, its header left out."""
    return coded(images, "jpeg", QUALITY).bits


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two figures (n,), from -1 to 1; nan where one of them is constant."""
    from scipy.stats import spearmanr

    if (one == one[0]).all() or (other == other[0]).all():
        return float("nan")
    return float(spearmanr(one.cpu(), other.cpu()).statistic)
