"""The vector quantiser: nearest code, straight-through gradient, moving-average codebook (section 3.1).

The codebook is no parameter: it follows the features that choose its codes,

    n_k <- decay * n_k + (1 - decay) * count_k        m_k <- decay * m_k + (1 - decay) * sum_k
    e_k  = m_k / n_k                                  (n_k smoothed so that no code divides by zero)

and codes that nobody chooses are redrawn from the features at hand. *When* a code counts as unused is
the restart rule, a small class of its own (see `ScaleFreeRestart` and `ReleasedRestart`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import QuantizerConfig
from mvqlab.models.pairs import NO_CODE
from mvqlab.models.ranks import from_first_rank, gather_over_ranks


class Quantised(NamedTuple):
    """What the quantiser returns.

    features (B, N, n_z): the chosen codes' vectors, with a straight-through gradient.
    codes (B, N): their indices.
    loss (): beta * mean (z - sg(e))^2, which moves the encoder towards the codebook.
    """

    features: Tensor
    codes: Tensor
    loss: Tensor


def in_float32(tensor: Tensor) -> torch.autocast:
    """Autocast off on the tensor's device: in bf16, a common offset of features drowns their differences."""
    return torch.autocast(tensor.device.type, enabled=False)


def nearest_codes(features: Tensor, codebook: Tensor) -> Tensor:
    """Index (M,) of the row of `codebook` (K, n_z) nearest to each of `features` (M, n_z).

    Whatever autocast does around it, distances are computed in float32, or in float64 where one comes in it.
    """
    precision = torch.promote_types(torch.promote_types(features.dtype, codebook.dtype), torch.float32)
    with in_float32(features):
        features, codebook = features.to(precision), codebook.to(precision)
        # |z - e|^2 without |z|^2, which is the same for every code.
        distances = codebook.square().sum(1) - 2.0 * features @ codebook.T
        return distances.argmin(dim=1)


def is_usable(features: Tensor) -> Tensor:
    """Which of `features` (M, n_z) have a length that is a number: (M,) bool.

    NaN and infinities have none, nor have numbers so large that distances to them overflow. One of them in
    a moving average would make its code NaN for good, and no number is less than the distance to NaN.
    """
    return features.square().sum(dim=1).isfinite()


def straight_through(features: Tensor, quantised: Tensor) -> Tensor:
    """`quantised` in the forward pass; its gradient goes to `features` unchanged."""
    return features + (quantised - features).detach()


def shuffled(n: int, device: torch.device) -> Tensor:
    """0 to `n` - 1 in random order (n,); on a GPU without a wait for it, so that a step can be replayed."""
    if device.type == "cuda":
        return torch.rand(n, device=device).argsort()
    return torch.randperm(n, device=device)


def noise_of_spread(drawn: Tensor, features: Tensor) -> Tensor:
    """This lab's noise on tiled features `drawn` (n, n_z): normal, a hundredth of how `features` spread."""
    spread = features.where(is_usable(features)[:, None], 0.0).std()
    return 0.01 * spread * torch.randn_like(drawn)


def released_noise(drawn: Tensor, features: Tensor) -> Tensor:
    """The released code's noise on tiled features `drawn` (n, n_z): uniform in [0, 0.01 / sqrt(n_z))."""
    return 0.01 / drawn.shape[1] ** 0.5 * torch.rand_like(drawn)


Noise = Callable[[Tensor, Tensor], Tensor]


def draw_features(features: Tensor, n: int, noise: Noise = noise_of_spread) -> Tensor:
    """`n` rows drawn from `features` (M, n_z) without repetition; tiled with small `noise` where M < n."""
    n_tiles = -(-n // len(features))
    order = shuffled(len(features) * n_tiles, features.device)[:n]
    drawn = features[from_first_rank(order) % len(features)]
    return drawn if n_tiles == 1 else drawn + from_first_rank(noise(drawn, features))


class RestartRule(nn.Module):
    """Says after every update which codes to redraw, and the count that a redrawn code starts with.

    noise: what is added to redrawn codes where features are too few for all. first_count: the moving-average
    counts of a codebook that has seen nothing. comes_first: whether codes are redrawn before counts are
    smoothed, and sums divided by them, or after.
    """

    noise: Noise = staticmethod(noise_of_spread)
    first_count = 1.0
    comes_first = False

    def unused(self, counts: Tensor, expected: float) -> Tensor:
        """Which codes (K,) bool to redraw.

        counts (K,): the moving-average counts. expected: the count under uniform use, features / K.
        """
        raise NotImplementedError

    def fresh_count(self, expected: float) -> float:
        """The moving-average count that a redrawn code starts with."""
        raise NotImplementedError


class NoRestart(RestartRule):
    """Codes are never redrawn: watch the codebook collapse."""

    def unused(self, counts: Tensor, expected: float) -> Tensor:
        return torch.zeros_like(counts, dtype=torch.bool)

    def fresh_count(self, expected: float) -> float:
        return expected


class ReleasedRestart(RestartRule):
    """The released code's rule: redraw at once whatever has a count under 1.

    The count grows with the batch, the threshold does not: 256 kept features and 1024 codes give a
    mean count of 1/4, and nearly the whole codebook is redrawn at every step.
    """

    noise = staticmethod(released_noise)
    first_count = 0.0
    comes_first = True

    def unused(self, counts: Tensor, expected: float) -> Tensor:
        return counts < 1.0

    def fresh_count(self, expected: float) -> float:
        return 1.0


class ScaleFreeRestart(RestartRule):
    """This lab's rule: the threshold is a share of uniform use, and a code gets `patience` steps.

    Doubling the batch doubles counts and threshold alike, so batch size does not matter.
    """

    steps_unused: Tensor

    def __init__(self, codebook_size: int, share: float, patience: int) -> None:
        super().__init__()
        self.share, self.patience = share, patience
        self.register_buffer("steps_unused", torch.zeros(codebook_size))

    def unused(self, counts: Tensor, expected: float) -> Tensor:
        waiting = torch.where(counts < self.share * expected, self.steps_unused + 1, 0)
        redraw = waiting >= self.patience
        self.steps_unused.copy_(torch.where(redraw, 0, waiting))
        return redraw

    def fresh_count(self, expected: float) -> float:
        return expected


class Codebook(nn.Module):
    """K codes, their moving averages and their restarts; all in float32, whatever autocast does."""

    codes: Tensor
    ema_counts: Tensor
    ema_sums: Tensor

    def __init__(self, size: int, dim: int, decay: float, restart: RestartRule) -> None:
        super().__init__()
        self.decay, self.restart = decay, restart
        self.register_buffer("codes", torch.empty(size, dim).uniform_(-1.0 / size, 1.0 / size))
        self.register_buffer("ema_counts", torch.full((size,), restart.first_count))
        self.register_buffer("ema_sums", self.codes.clone())
        self.is_waiting = False  # during a warm-up: see VectorQuantizer.forward

    @property
    def size(self) -> int:
        """K."""
        return len(self.codes)

    def nearest(self, features: Tensor) -> Tensor:
        """Indices (...) of the codes nearest to `features` (..., n_z)."""
        flat = features.detach().reshape(-1, features.shape[-1])
        return nearest_codes(flat, self.codes).reshape(features.shape[:-1])

    def look_up(self, codes: Tensor) -> Tensor:
        """Vectors (..., n_z) of the codes with the given indices (...)."""
        return F.embedding(codes, self.codes)

    @torch.no_grad()
    def initialise(self, features: Tensor) -> None:
        """Start codes and averages from `features` (..., n_z), so that the first update is no jump."""
        everyone = self._of_all_ranks(features)
        with in_float32(everyone):
            self._set(torch.ones_like(self.ema_counts, dtype=torch.bool), everyone)

    @torch.no_grad()
    def update(self, features: Tensor, codes: Tensor) -> None:
        """One moving-average step from `features` (..., n_z) that chose `codes` (...), then restarts."""
        everyone = self._of_all_ranks(features)
        chosen = gather_over_ranks(codes.reshape(-1))
        with in_float32(everyone):
            self._follow(everyone, chosen)

    def _of_all_ranks(self, features: Tensor) -> Tensor:
        """Features (M, n_z) of all processes, in the codebook's own precision, from one's own (..., n_z)."""
        return gather_over_ranks(features.reshape(-1, features.shape[-1]).to(self.codes.dtype))

    def _follow(self, features: Tensor, codes: Tensor) -> None:
        """`update` from the features (M, n_z) of all processes, that chose codes (M,)."""
        usable = is_usable(features)  # the others count as not there: the loss is what says that they were
        counts = torch.zeros_like(self.ema_counts).index_add_(0, codes, usable.to(features.dtype))
        sums = torch.zeros_like(self.ema_sums).index_add_(0, codes, features.where(usable[:, None], 0.0))
        self.ema_counts.lerp_(counts, 1.0 - self.decay)
        self.ema_sums.lerp_(sums, 1.0 - self.decay)
        which = self.restart.unused(self.ema_counts, len(codes) / self.size)
        if self.restart.comes_first:
            self._set(which, features)
        self.codes.copy_(self.ema_sums / smoothed(self.ema_counts).unsqueeze(1))
        if not self.restart.comes_first:
            self._set(which, features)

    def _set(self, which: Tensor, features: Tensor) -> None:
        """Redraw the codes `which` (K,) from `features` (M, n_z)."""
        count = self.restart.fresh_count(len(features) / self.size)
        drawn = draw_features(features, self.size, self.restart.noise)
        which = which & is_usable(drawn)
        self.codes.copy_(torch.where(which.unsqueeze(1), drawn, self.codes))
        self.ema_counts.masked_fill_(which, count)
        self.ema_sums.copy_(torch.where(which.unsqueeze(1), drawn * count, self.ema_sums))


def smoothed(counts: Tensor, eps: float = 1e-5) -> Tensor:
    """Laplace smoothing of `counts` (K,) that keeps their sum: no code divides by zero."""
    total = counts.sum()
    return (counts + eps) / (total + len(counts) * eps) * total


class VectorQuantizer(nn.Module):
    """Features (B, N, n_z) to their nearest codes; follows them while training."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.commitment_weight = config.commitment_weight
        self.codebook = Codebook(
            config.codebook_size, config.code_dim, config.ema_decay, build_restart(config)
        )

    def forward(self, features: Tensor, is_padding: Tensor | None = None) -> Quantised:
        """Quantise `features` (B, N, n_z). In training mode the codebook takes one step.

        is_padding (B, N): which features are none. Neither loss nor codebook sees them; their code is -1.

        While the codebook is waiting, features pass as they are: the lab's optional warm-up, in which
        encoder and decoder first learn what there is to quantise (`quantizer.start_step`).
        """
        if is_padding is not None:
            return self._without(features, ~is_padding)
        if self.training and self.codebook.is_waiting:
            return Quantised(features, self.codebook.nearest(features), features.new_zeros(()))
        codes = self.codebook.nearest(features)
        quantised = self.codebook.look_up(codes)
        with in_float32(features):
            loss = self.commitment_weight * F.mse_loss(features.to(quantised.dtype), quantised)
        if self.training:
            self.codebook.update(features, codes)
        return Quantised(straight_through(features, quantised.to(features.dtype)), codes, loss)

    def _without(self, features: Tensor, is_real: Tensor) -> Quantised:
        """Quantise the features where `is_real` (B, N), packed; zeros and the code -1 stand elsewhere."""
        packed = self(features[is_real])
        quantised = torch.zeros_like(features)
        quantised[is_real] = packed.features
        codes = torch.full(is_real.shape, NO_CODE, device=features.device)
        codes[is_real] = packed.codes
        return Quantised(quantised, codes, packed.loss)


def build_restart(config: QuantizerConfig) -> RestartRule:
    """The restart rule that `config.restart` names."""
    if config.restart == "released":
        return ReleasedRestart()
    if config.restart == "none":
        return NoRestart()
    return ScaleFreeRestart(config.codebook_size, config.restart_share, config.restart_patience)
