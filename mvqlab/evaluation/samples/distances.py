"""How close generated images are to real ones: FID and KID between two sets of features.

FID: Heusel et al. 2017, equation 6. KID: Binkowski et al. 2018. Both come from torchmetrics; here
features are computed once for both, and handed over in double precision. FID is biased upwards where images
are few (fewer than some ten times the extractor's features): compare only figures from equal numbers. KID is
unbiased, so it may fall slightly below 0.
"""

from __future__ import annotations

import math
import statistics
import warnings

import torch
from torch import Tensor, nn

from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.support.finite import check_finite
from mvqlab.support.torchvision_guard import import_torchvision

KID_SUBSETS = 50
KID_SUBSET_SIZE = 1000  # images, or half of the smaller set
KERNEL_BLOCK = 4096  # rows whose kernel is in memory at once


def spread_column(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, seed: int = 0
) -> dict[str, float]:
    """The column kid_<column>_std, the mean over the judges; nothing if a set has fewer than four images."""
    both = zip(extractor.by_member(real), extractor.by_member(generated), strict=True)
    spread = statistics.fmean(kernel_spread(*of_member, seed) for of_member in both)
    return {} if math.isnan(spread) else {f"kid_{extractor.column}_std": spread}


def frechet_columns(
    real: Tensor, generated: Tensor, extractor: FeatureExtractor, name: str
) -> dict[str, float]:
    """The column `name`_<column>, the mean over the judges, and with _spread their standard deviation.

    The latter only where there are two or more.
    """
    both = zip(extractor.by_member(real), extractor.by_member(generated), strict=True)
    distances = [quick_frechet_distance(*of_member) for of_member in both]
    column = f"{name}_{extractor.column}"
    columns = {column: statistics.fmean(distances)}
    return columns | ({f"{column}_spread": statistics.stdev(distances)} if len(distances) > 1 else {})


@torch.no_grad()
def features_of(
    extractor: FeatureExtractor, images: Tensor, batch_size: int = 64, what: str = "images"
) -> Tensor:
    """Features (n, num_features), float64 on the CPU, of images (n, 3, H, W), uint8 or in [-1, 1].

    Raises NonFiniteError, which calls the images `what`, where these or their features are not finite.
    """
    chunks = [extractor(to_uint8(chunk, what).to(extractor.device)) for chunk in images.split(batch_size)]
    features = torch.cat(chunks).cpu().double()
    check_finite(f"features of {what} by {extractor.name}", features)
    return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """FID between features (n, F) and (m, F): ||mu - mu'||^2 + Tr(C + C' - 2 (C C')^(1/2)).

    Where n <= F the covariance is singular; the trace of the root is then still defined, and rounding
    below 0 is cut off. Raises ValueError if a set has fewer than two rows, NonFiniteError.
    """
    import_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance

    _check_sets(real, generated)
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]))
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return max(0.0, float(metric.compute()))


def quick_frechet_distance(real: Tensor, generated: Tensor) -> float:
    """`frechet_distance`, in the way that is quicker for as many images and features as there are."""
    has_many_features = real.shape[1] > min(len(real), len(generated))
    return (frechet_distance_of_few if has_many_features else frechet_distance)(real, generated)


def frechet_distance_of_few(real: Tensor, generated: Tensor) -> float:
    """`frechet_distance`, a hundred times faster where features far outnumber images.

    With centred rows X and Y, divided by the roots of n - 1 and m - 1, the trace of (C C')^(1/2) is the sum
    of the singular values of X Y^T, which is (n, m) instead of (F, F).
    """
    _check_sets(real, generated)
    x, y = ((rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5 for rows in (real, generated))
    between_means = (real.mean(dim=0) - generated.mean(dim=0)).square().sum()
    shared = torch.linalg.svdvals(x @ y.T).sum()
    return max(0.0, float(between_means + x.square().sum() + y.square().sum() - 2.0 * shared))


def kernel_spread(real: Tensor, generated: Tensor, seed: int = 0) -> float:
    """Standard deviation of KID over 50 random subsets of both sets, which `seed` draws.

    A subset has 1000 images, or half of the smaller set: of the whole set there is but one, which does not
    vary. nan where the smaller set has fewer than four. Raises ValueError if one has fewer than two.
    """
    import_torchvision()
    from torchmetrics.image.kid import KernelInceptionDistance

    _check_sets(real, generated)
    size = min(KID_SUBSET_SIZE, len(real) // 2, len(generated) // 2)
    if size < 2:
        return math.nan
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save")
        metric = KernelInceptionDistance(feature=_Given(real.shape[1]), subsets=KID_SUBSETS, subset_size=size)
        torch.manual_seed(seed)
        metric.update(real, real=True)
        metric.update(generated, real=False)
        _, deviation = metric.compute()
    return float(deviation)


def unbiased_kernel_distance(real: Tensor, generated: Tensor) -> float:
    """KID between all rows of (n, F) and (m, F), of equal numbers or not, without random subsets.

    The squared maximum mean discrepancy under the kernel (x . y / F + 1)^3, unbiased.
    """
    _check_sets(real, generated)
    within = [_mean_of_others(rows) for rows in (real, generated)]
    across = _kernel_sum(real, generated) / (len(real) * len(generated))
    return float(sum(within) - 2.0 * across)


def _mean_of_others(rows: Tensor) -> Tensor:
    """Mean of the kernel between each of `rows` (n, F) and every other one."""
    n, n_features = rows.shape
    own = (rows.square().sum(dim=1) / n_features + 1.0) ** 3
    return (_kernel_sum(rows, rows) - own.sum()) / (n * (n - 1))


def _kernel_sum(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the kernel over all pairs of rows of (n, F) and (m, F), some thousand rows at a time."""
    import_torchvision()
    from torchmetrics.image.kid import poly_kernel

    return torch.stack([poly_kernel(rows, second).sum() for rows in first.split(KERNEL_BLOCK)]).sum()


class _Given(nn.Identity):
    """Stands where torchmetrics expects a network: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def _check_sets(real: Tensor, generated: Tensor) -> None:
    if len(real) < 2 or len(generated) < 2:
        raise ValueError(
            f"FID and KID need at least two images on each side, got {len(real)} real and "
            f"{len(generated)} generated"
        )
    check_finite("features of real images", real)
    check_finite("features of generated images", generated)
