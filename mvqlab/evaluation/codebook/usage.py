"""Is the codebook used, and do its codes differ? (The paper's figure 5, in numbers.)"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.support.finite import check_finite

FEW = 2048  # features that every model has, whatever it drops
NEAR_SHARE = 0.1  # of the mean distance between codes; a code nearer than that to another is a near-duplicate


class CodebookUsage(NamedTuple):
    """How evenly the codebook is used.

    used_share: share of the K codes that occur, 0 to 1. perplexity: exp of the entropy of their
    frequencies, 1 to K codes. n_features: the number of coded regions both are computed over, on which
    both depend (METHOD weak point 14): compare only at equal numbers.
    """

    used_share: float
    perplexity: float
    n_features: int


class CodebookRedundancy(NamedTuple):
    """How much the codes in use differ from each other.

    effective_rank: exp of the entropy of the shares of the singular values of the centred codes (Roy
    and Vetterli 2007), 0 to n_z; what a PCA picture shows. nearest_distance: Euclidean distance to the
    nearest other code, averaged, as a share of the mean distance between codes. nearest_cosine: cosine
    distance (1 - cosine, 0 to 2) to the nearest other code, averaged. near_duplicate_share: share of
    codes whose nearest other code is within 0.1 of the mean distance between codes. n_codes: the codes
    that were looked at. The distances are nan where there are fewer than two.
    """

    effective_rank: float
    nearest_distance: float
    nearest_cosine: float
    near_duplicate_share: float
    n_codes: int


def code_counts(codes: Tensor, codebook_size: int) -> Tensor:
    """How often each of the K codes occurs in `codes` (any shape): (K,) int64."""
    return torch.bincount(codes.flatten().cpu(), minlength=codebook_size)


def codebook_usage(codes: Tensor, codebook_size: int) -> CodebookUsage:
    """Usage of a codebook of `codebook_size` in `codes` (any shape). Raises ValueError without codes."""
    if codes.numel() == 0:
        raise ValueError("there are no codes to compute usage over")
    counts = code_counts(codes, codebook_size)
    shares = counts.double() / counts.sum()
    return CodebookUsage(
        used_share=float((counts > 0).double().mean()),
        perplexity=float(torch.special.entr(shares).sum().exp()),
        n_features=codes.numel(),
    )


def perplexity_of_few(codes: Tensor, codebook_size: int, n: int = FEW, seed: int = 0) -> float:
    """Perplexity over `n` of the `codes` (any shape), drawn from `seed`; nan where there are fewer.

    It grows with the number of features, of which masked models have fewer an image: over equally many it
    compares (METHOD weak point 14).
    """
    codes = codes.flatten().cpu()
    if len(codes) < n:
        return torch.nan
    drawn = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))[:n]
    return codebook_usage(codes[drawn], codebook_size).perplexity


def codebook_redundancy(
    codebook: Tensor, counts: Tensor | None = None, weighted: bool = False
) -> CodebookRedundancy:
    """Redundancy of a codebook (K, n_z).

    With `counts` (K,), see `code_counts`, only codes that occur are looked at: codes that no region
    takes lie wherever they were left. `weighted` counts each code in the effective rank as often as it
    occurs. Raises ValueError for `weighted` without `counts`, NonFiniteError.
    """
    check_finite("codebook", codebook)
    if weighted and counts is None:
        raise ValueError("a usage-weighted effective rank needs the codes' counts")
    used = torch.ones(len(codebook), dtype=torch.bool) if counts is None else counts.cpu() > 0
    codes = codebook.detach().double().cpu()[used]
    weights = (
        counts.cpu()[used].double() if weighted and counts is not None else torch.ones(len(codes)).double()
    )
    if len(codes) < 2:
        return CodebookRedundancy(0.0, torch.nan, torch.nan, torch.nan, len(codes))
    distances = _nearest_and_mean(_euclidean(codes))
    relative = distances.nearest / distances.mean.clamp(min=torch.finfo(torch.float64).tiny)
    return CodebookRedundancy(
        effective_rank=effective_rank(codes, weights),
        nearest_distance=float(relative.mean()),
        nearest_cosine=float(_nearest_and_mean(_cosine_distance(codes)).nearest.mean()),
        near_duplicate_share=float((relative < NEAR_SHARE).double().mean()),
        n_codes=len(codes),
    )


def effective_rank(vectors: Tensor, weights: Tensor) -> float:
    """Effective rank of the cloud of `vectors` (n, d) about its centre, weighted by `weights` (n,).

    Source: Roy and Vetterli 2007, definition 1. 0 if all vectors are the same.
    """
    shares = (weights / weights.sum()).unsqueeze(1)
    centred = (vectors - (shares * vectors).sum(dim=0)) * shares.sqrt()
    spectrum = torch.linalg.svdvals(centred)
    # Rounding leaves a spectrum of noise where there is no spread at all.
    if spectrum[0] <= 1e-12 * vectors.norm(dim=1).max():
        return 0.0
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


class _Distances(NamedTuple):
    nearest: Tensor  # (n,) from each code to the nearest other one
    mean: Tensor  # () over all pairs of two codes


def _nearest_and_mean(distances: Tensor) -> _Distances:
    n = len(distances)
    others = distances.clone().fill_diagonal_(torch.inf)
    return _Distances(others.min(dim=1).values, distances.sum() / (n * (n - 1)))


def _euclidean(codes: Tensor) -> Tensor:
    # cdist's fast form loses just the small distances that near-duplicates have.
    return torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")


def _cosine_distance(codes: Tensor) -> Tensor:
    directions = F.normalize(codes, dim=1)
    distances = (1.0 - directions @ directions.T).clamp(min=0.0)
    return distances.fill_diagonal_(0.0)
