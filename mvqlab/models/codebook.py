"""The codebook: the nearest code, and codes that follow the features that choose them (section 3.1).

The codebook is no parameter. It follows its features by moving averages,

    n_k <- decay * n_k + (1 - decay) * count_k        m_k <- decay * m_k + (1 - decay) * sum_k
    e_k  = m_k / n_k                                  (n_k smoothed so that no code divides by zero)

and codes that nobody chooses are redrawn from the features at hand, by the restart rule.

Symbols: K codes e_k of dimension n_z, numbered from 0; M features in a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.models.ranks import gather_over_ranks
from mvqlab.models.restarts import RestartRule, draw_features, is_usable


def in_float32(tensor: Tensor) -> torch.autocast:
    """Autocast off on the tensor's device: in bf16, a common offset of features drowns their differences."""
    return torch.autocast(tensor.device.type, enabled=False)


def nearest_codes(features: Float[Tensor, "M n_z"], codebook: Float[Tensor, "K n_z"]) -> Int[Tensor, " M"]:
    """Index of the row of `codebook` nearest to each of `features`, by Euclidean distance (section 3.1).

    Whatever autocast does around it, distances are computed in float32, or in float64 where one comes in it.
    """
    precision = torch.promote_types(torch.promote_types(features.dtype, codebook.dtype), torch.float32)
    with in_float32(features):
        features, codebook = features.to(precision), codebook.to(precision)
        # |z - e|^2 without |z|^2, which is the same for every code.
        distances = codebook.square().sum(1) - 2.0 * features @ codebook.T  # (K,) - (M, K): (M, K)
        return distances.argmin(dim=1)  # (M, K) -> (M,)


class Codebook(nn.Module):
    """K codes, their moving averages and their restarts; all in float32, whatever autocast does."""

    codes: Float[Tensor, "K n_z"]
    ema_counts: Float[Tensor, " K"]
    ema_sums: Float[Tensor, "K n_z"]

    def __init__(self, size: int, dim: int, decay: float, restart: RestartRule) -> None:
        super().__init__()
        self.decay, self.restart = decay, restart
        self.register_buffer("codes", torch.empty(size, dim).uniform_(-1.0 / size, 1.0 / size))
        self.register_buffer("ema_counts", torch.full((size,), restart.first_count))
        self.register_buffer("ema_sums", self.codes.clone())

    @property
    def size(self) -> int:
        """K."""
        return len(self.codes)

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes nearest to `features`."""
        flat = features.detach().reshape(-1, features.shape[-1])  # (..., n_z) -> (M, n_z)
        return nearest_codes(flat, self.codes).reshape(features.shape[:-1])  # (M,) -> (...)

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        return F.embedding(codes, self.codes)  # (...) -> (..., n_z)

    @torch.no_grad()
    def initialise(self, features: Float[Tensor, "*any n_z"]) -> None:
        """Start codes and averages from `features`, so that the first update is no jump."""
        everyone = self._of_all_ranks(features)
        with in_float32(everyone):
            self._redraw(torch.ones_like(self.ema_counts, dtype=torch.bool), everyone)  # all K

    @torch.no_grad()
    def update(self, features: Float[Tensor, "*any n_z"], codes: Int[Tensor, "*any"]) -> None:
        """One moving-average step from `features` that chose `codes`, then restarts."""
        everyone = self._of_all_ranks(features)  # (M, n_z)
        chosen = gather_over_ranks(codes.reshape(-1))  # (...) -> (M,)
        with in_float32(everyone):
            self._average_in(everyone, chosen)
            self._set_codes(everyone)

    def _of_all_ranks(self, features: Float[Tensor, "*any n_z"]) -> Float[Tensor, "M n_z"]:
        """Features of all processes, in the codebook's own precision, from one's own."""
        own = features.reshape(-1, features.shape[-1])  # (..., n_z) -> (B N, n_z)
        return gather_over_ranks(own.to(self.codes.dtype))

    def _average_in(self, features: Float[Tensor, "M n_z"], codes: Int[Tensor, " M"]) -> None:
        """n_k and m_k, one step on: decay of what they were, and the rest of how `features` chose `codes`."""
        usable = is_usable(features)  # the others count as not there: the loss is what says that they were
        counts = torch.zeros_like(self.ema_counts).index_add_(0, codes, usable.to(features.dtype))  # (K,)
        counted = features.where(usable[:, None], 0.0)  # (M, 1) against (M, n_z)
        sums = torch.zeros_like(self.ema_sums).index_add_(0, codes, counted)  # (M, n_z) -> (K, n_z)
        self.ema_counts.lerp_(counts, 1.0 - self.decay)
        self.ema_sums.lerp_(sums, 1.0 - self.decay)

    def _set_codes(self, features: Float[Tensor, "M n_z"]) -> None:
        """e_k = m_k / n_k, and codes that are unused redrawn from `features`, as the restart rule says."""
        expected = len(features) / self.size  # a code's count if all were chosen equally often
        is_unused = self.restart.is_unused(self.ema_counts, expected)  # (K,)
        self.restart.remember(self.ema_counts, expected)
        if self.restart.comes_first:
            self._redraw(is_unused, features)
        self.codes.copy_(self.ema_sums / smoothed(self.ema_counts).unsqueeze(1))  # (K, n_z) / (K, 1)
        if not self.restart.comes_first:
            self._redraw(is_unused, features)

    def _redraw(self, where: Bool[Tensor, " K"], features: Float[Tensor, "M n_z"]) -> None:
        """Let the codes `where` True begin anew, each as one of `features` that is drawn for it."""
        drawn = draw_features(features, self.size, self.restart.noise)  # (K, n_z), one a code, needed or not
        n_k = self.restart.fresh_count(len(features) / self.size)
        is_new = where & is_usable(drawn)  # (K,)
        is_new_row = is_new.unsqueeze(1)  # (K,) -> (K, 1), against (K, n_z)
        self.codes.copy_(torch.where(is_new_row, drawn, self.codes))
        self.ema_counts.masked_fill_(is_new, n_k)
        self.ema_sums.copy_(torch.where(is_new_row, drawn * n_k, self.ema_sums))  # so that m_k / n_k is e_k


def smoothed(counts: Float[Tensor, " K"], eps: float = 1e-5) -> Float[Tensor, " K"]:
    """Laplace smoothing of `counts` that keeps their sum: no code divides by zero."""
    total = counts.sum()
    return (counts + eps) / (total + len(counts) * eps) * total
