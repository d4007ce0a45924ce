"""A codebook seen along its principal components: the paper's figure 5, and what that figure leaves out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Plane(NamedTuple):
    """Codes and features on the two principal components of the codes.

    codes (K, 2), features (M, 2): coordinates about the codes' centre, in units of the vectors.
    explained (2,): share of the codes' variance that lies along each component.
    """

    codes: Tensor
    features: Tensor
    explained: Tensor


def principal_plane(codebook: Tensor, features: Tensor, counts: Tensor | None = None) -> Plane:
    """Project a codebook (K, n_z) and features (M, n_z) on the plane in which the codes vary most.

    With `counts` (K,), see `code_counts`, the plane is that of the codes in use; the others are projected on
    it. Raises ValueError for fewer than two codes in use.
    """
    from sklearn.decomposition import PCA

    codes = codebook.detach().double().cpu()
    used = codes if counts is None else codes[counts.cpu() > 0]
    if len(used) < 2:
        raise ValueError(f"a plane needs at least two codes in use, not {len(used)}")
    pca = PCA(2, svd_solver="full").fit(used.numpy())
    flat = features.detach().double().cpu().reshape(-1, codes.shape[1])
    return Plane(
        codes=torch.from_numpy(pca.transform(codes.numpy())),
        features=torch.from_numpy(pca.transform(flat.numpy())),
        explained=torch.from_numpy(pca.explained_variance_ratio_),
    )


def in_unit_square(places: Tensor) -> Tensor:
    """`places` (K, 2) moved and stretched so that they reach from 0 to 1 across and up; (K, 2), float64."""
    places = places.double()
    lowest = places.min(dim=0).values  # (2,)
    extent = (places.max(dim=0).values - lowest).clamp(min=torch.finfo(torch.float32).tiny)
    return (places - lowest) / extent


def singular_shares(codebook: Tensor, counts: Tensor | None = None) -> Tensor:
    """Shares (r,), falling, of the singular values of the centred codes: they add up to one.

    The effective rank of `codebook_redundancy` is the exponential of their entropy (Roy and Vetterli 2007).
    `counts` as in `principal_plane`. nan where all codes are the same.
    """
    codes = codebook.detach().double().cpu()
    used = codes if counts is None else codes[counts.cpu() > 0]
    spectrum = torch.linalg.svdvals(used - used.mean(dim=0))
    return spectrum / spectrum.sum()
