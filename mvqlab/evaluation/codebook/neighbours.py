"""Which codes lie close together: the nearest other code of each, and pairs of codes at a given distance.

All distances are Euclidean and given as a share of the mean distance between the codes in use, as in
`codebook_redundancy`: features of two models come in different sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvqlab.support.finite import check_finite


class Neighbours(NamedTuple):
    """The nearest other code in use of each code.

    index (K,): which; -1 at codes that are not in use. distance (K,): how far, as a share of the mean
    distance between codes; nan at codes that are not in use.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of that name
    distance: Tensor


class CodePair(NamedTuple):
    """Two codes, and their distance as a share of the mean distance between codes."""

    first: int
    second: int
    distance: float


def nearest_others(codebook: Tensor, counts: Tensor | None = None) -> Neighbours:
    """The nearest other code of each code of a codebook (K, n_z).

    With `counts` (K,), see `code_counts`, only codes that occur have and are neighbours. Raises ValueError
    for fewer than two codes in use.
    """
    used, distances = _relative_distances(codebook, counts)
    np.fill_diagonal(distances, np.inf)
    index = torch.full((len(codebook),), -1)
    distance = torch.full((len(codebook),), torch.nan, dtype=torch.float64)
    index[used] = used[torch.from_numpy(distances.argmin(axis=1))]
    distance[used] = torch.from_numpy(distances.min(axis=1))
    return Neighbours(index, distance)


def neighbours_of(codebook: Tensor, counts: Tensor, code: int, n: int) -> list[CodePair]:
    """The `n` codes in use that lie nearest to `code`, nearest first, each as a pair with it.

    Raises ValueError for fewer than two codes in use, and for a code that is not in use.
    """
    used, distances = _relative_distances(codebook, counts)
    if code not in used:
        raise ValueError(f"code {code} is not in use")
    from_code = distances[int((used == code).nonzero())]
    nearest = from_code.argsort(kind="stable")
    others = [int(place) for place in nearest if int(used[place]) != code][:n]
    return [CodePair(code, int(used[place]), float(from_code[place])) for place in others]


def pairs_at(
    codebook: Tensor, counts: Tensor, quantile: float, n: int, least_count: int = 1
) -> list[CodePair]:
    """`n` pairs of codes whose distance is nearest to a `quantile` of all distances; no code comes twice.

    Quantile 0 gives the nearest pairs there are, 0.5 ordinary ones. Only codes that occur at least
    `least_count` times take part. There are fewer pairs where codes run out. Raises ValueError for fewer
    than two such codes.
    """
    used, distances = _relative_distances(codebook, counts, least_count)
    firsts, seconds = np.triu_indices(len(used), k=1)
    between = distances[firsts, seconds]
    order = np.abs(between - np.quantile(between, quantile)).argsort(kind="stable")
    pairs: list[CodePair] = []
    taken: set[int] = set()
    for place in order:
        first, second = int(used[firsts[place]]), int(used[seconds[place]])
        if not taken & {first, second}:
            pairs.append(CodePair(first, second, float(between[place])))
            taken |= {first, second}
        if len(pairs) == n:
            break
    return pairs


def gaussian_twin(codebook: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """As many vectors (K, n_z) as `codebook` has, from a normal distribution of its mean and covariance.

    What nearest distances look like for so many points in a cloud of that shape, if nothing else is known.
    """
    codes = codebook.detach().double().cpu()
    centre = codes.mean(dim=0)
    _, spread, directions = torch.linalg.svd(codes - centre, full_matrices=False)
    drawn = torch.randn(len(codes), len(spread), generator=generator, dtype=torch.float64)
    return centre + drawn * (spread / (len(codes) - 1) ** 0.5) @ directions


def _relative_distances(
    codebook: Tensor, counts: Tensor | None, least_count: int = 1
) -> tuple[Tensor, NDArray[np.float64]]:
    """The codes in use (n,), and the distances (n, n) between them over their mean."""
    from scipy.spatial.distance import pdist, squareform

    check_finite("codebook", codebook)
    used = torch.arange(len(codebook))
    if counts is not None:
        used = used[counts.cpu() >= least_count]
    if len(used) < 2:
        raise ValueError(f"distances need at least two codes in use, not {len(used)}")
    distances = pdist(codebook.detach().double().cpu()[used].numpy())
    return used, squareform(distances / max(distances.mean(), np.finfo(np.float64).tiny))
