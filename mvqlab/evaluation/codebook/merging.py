"""Are near codes superfluous? Merge codes that lie close together, and see what the images lose."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.reconstruction import HeldOut
from mvqlab.models.mqvae import TokenModel


def merge_codes(codebook: Tensor, counts: Tensor, n: int) -> Tensor:
    """The codebook (K, n_z) with only `n` different codes left, each the mean of those that it replaces.

    Which codes are merged is Ward's hierarchical clustering of the codes, in which every code weighs the
    same; the mean weighs them by `counts` (K,), see `code_counts`. Raises ValueError unless 1 <= n <= K.
    """
    from sklearn.cluster import AgglomerativeClustering

    codes = codebook.detach().double().cpu()
    if not 1 <= n <= len(codes):
        raise ValueError(f"cannot merge {len(codes)} codes into {n}")
    members = torch.from_numpy(AgglomerativeClustering(n, linkage="ward").fit_predict(codes.numpy()))
    weights = counts.cpu().double() + 1e-9  # a cluster that nobody uses has a mean, too
    totals = torch.zeros(n, dtype=torch.float64).index_add_(0, members, weights)
    sums = torch.zeros(n, codes.shape[1], dtype=torch.float64)
    sums.index_add_(0, members, codes * weights.unsqueeze(1))
    return (sums / totals.unsqueeze(1))[members].to(codebook.dtype)


@torch.no_grad()
def decode_with(model: TokenModel, held_out: HeldOut, codebook: Tensor, batch_size: int = 64) -> HeldOut:
    """`held_out`, its pairs decoded again by `model` with the vectors of another `codebook` (K, n_z).

    Decoder and pairs stay as they are: nothing is trained.
    """
    device = model.codebook.device
    codebook = codebook.to(device)
    parts = []
    for start in range(0, len(held_out), batch_size):
        pairs = held_out.pairs[start : start + batch_size].to(device)
        parts.append(to_uint8(model.restore(codebook[pairs.codes], pairs.positions), "reconstructions").cpu())
    return replace(held_out, reconstructions=torch.cat(parts))
