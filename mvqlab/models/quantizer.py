"""The vector quantiser: nearest code, straight-through gradient, moving-average codebook (section 3.1).

The codebook is no parameter: it follows the features that choose its codes,

    n_k <- decay * n_k + (1 - decay) * count_k        m_k <- decay * m_k + (1 - decay) * sum_k
    e_k  = m_k / n_k                                  (n_k smoothed so that no code divides by zero)

and codes that nobody chooses are redrawn from the features at hand. *When* a code counts as unused is
the restart rule, a small class of its own (see `ScaleFreeRestart` and `ReleasedRestart`).

Symbols: K codes e_k of dimension n_z, numbered from 0; z a feature, of which a batch of B images has N
each, or M = B * N in a row; beta the weight of the commitment loss; sg stops a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import QuantizerConfig
from mvqlab.models.pairs import NO_CODE
from mvqlab.models.ranks import from_first_rank, gather_over_ranks


class Quantised(NamedTuple):
    """What the quantiser returns; `...` is B, N, or M where features stand in one row.

    features: the chosen codes' vectors, with a straight-through gradient.
    codes: their indices; -1 at padding.
    loss: beta * mean (z - sg(e))^2, which moves the encoder towards the codebook.
    """

    features: Float[Tensor, "... n_z"]
    codes: Int[Tensor, " ..."]
    loss: Float[Tensor, ""]


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


def is_usable(features: Float[Tensor, "M n_z"]) -> Bool[Tensor, " M"]:
    """True for those of `features` that have a length that is a number.

    NaN and infinities have none, nor have numbers so large that distances to them overflow. One of them in
    a moving average would make its code NaN for good, and no number is less than the distance to NaN.
    """
    return features.square().sum(dim=1).isfinite()


def straight_through(
    features: Float[Tensor, "*any n_z"], quantised: Float[Tensor, "*any n_z"]
) -> Float[Tensor, "*any n_z"]:
    """`quantised` in the forward pass; its gradient goes to `features` unchanged (van den Oord 2017)."""
    return features + (quantised - features).detach()


def shuffled(n: int, device: torch.device) -> Int[Tensor, " {n}"]:
    """0 to `n` - 1 in random order; on a GPU without a wait for it, so that a step can be replayed."""
    if device.type == "cuda":
        return torch.rand(n, device=device).argsort()
    return torch.randperm(n, device=device)


def noise_of_spread(
    drawn: Float[Tensor, "n n_z"], features: Float[Tensor, "M n_z"]
) -> Float[Tensor, "n n_z"]:
    """This lab's noise on tiled features `drawn`: normal, a hundredth of how `features` spread."""
    spread = features.where(is_usable(features)[:, None], 0.0).std()
    return 0.01 * spread * torch.randn_like(drawn)


def released_noise(drawn: Float[Tensor, "n n_z"], features: Float[Tensor, "M n_z"]) -> Float[Tensor, "n n_z"]:
    """The released code's noise on tiled features `drawn`: uniform in [0, 0.01 / sqrt(n_z))."""
    return 0.01 / drawn.shape[1] ** 0.5 * torch.rand_like(drawn)


Noise = Callable[[Tensor, Tensor], Tensor]


def draw_features(
    features: Float[Tensor, "M n_z"], n: int, noise: Noise = noise_of_spread
) -> Float[Tensor, "{n} n_z"]:
    """`n` rows drawn from `features` without repetition; tiled with small `noise` where M < n."""
    n_tiles = -(-n // len(features))
    order = shuffled(len(features) * n_tiles, features.device)[:n]  # (n_tiles M,) -> (n,)
    drawn = features[from_first_rank(order) % len(features)]  # (M, n_z) -> (n, n_z)
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

    def is_unused(self, counts: Float[Tensor, " K"], expected: float) -> Bool[Tensor, " K"]:
        """True for the codes to redraw in this step: a question, which changes nothing.

        counts: the moving-average counts. expected: the count under uniform use, features / K.
        """
        raise NotImplementedError

    def remember(self, counts: Float[Tensor, " K"], expected: float) -> None:
        """Take note of this step, for a rule that looks at several in a row; others have no memory."""

    def fresh_count(self, expected: float) -> float:
        """The moving-average count that a redrawn code starts with."""
        raise NotImplementedError


class NoRestart(RestartRule):
    """Codes are never redrawn: watch the codebook collapse."""

    def is_unused(self, counts: Float[Tensor, " K"], expected: float) -> Bool[Tensor, " K"]:
        """False for every code."""
        return torch.zeros_like(counts, dtype=torch.bool)

    def fresh_count(self, expected: float) -> float:
        """As many as each would have under uniform use."""
        return expected


class ReleasedRestart(RestartRule):
    """The released code's rule: redraw at once whatever has a count under 1.

    The count grows with the batch, the threshold does not: 256 kept features and 1024 codes give a
    mean count of 1/4, and nearly the whole codebook is redrawn at every step.
    """

    noise = staticmethod(released_noise)
    first_count = 0.0
    comes_first = True

    def is_unused(self, counts: Float[Tensor, " K"], expected: float) -> Bool[Tensor, " K"]:
        """True where the count is under 1, whatever is `expected`."""
        return counts < 1.0

    def fresh_count(self, expected: float) -> float:
        """1, the threshold itself."""
        return 1.0


class ScaleFreeRestart(RestartRule):
    """This lab's rule: the threshold is a share of uniform use, and a code gets `patience` steps.

    Doubling the batch doubles counts and threshold alike, so batch size does not matter.
    """

    steps_unused: Float[Tensor, " K"]  # that a code has been under the threshold, in a row, before this step

    def __init__(self, codebook_size: int, share: float, patience: int) -> None:
        super().__init__()
        self.share, self.patience = share, patience
        self.register_buffer("steps_unused", torch.zeros(codebook_size))

    def is_unused(self, counts: Float[Tensor, " K"], expected: float) -> Bool[Tensor, " K"]:
        """True where the count has been under its threshold for `patience` steps, this one included."""
        return self._with_this_step(counts, expected) >= self.patience

    def remember(self, counts: Float[Tensor, " K"], expected: float) -> None:
        """Count this step; codes whose patience is at its end are redrawn and begin anew."""
        steps = self._with_this_step(counts, expected)
        self.steps_unused.copy_(torch.where(steps >= self.patience, 0, steps))

    def fresh_count(self, expected: float) -> float:
        """As many as each would have under uniform use."""
        return expected

    def _with_this_step(self, counts: Float[Tensor, " K"], expected: float) -> Float[Tensor, " K"]:
        return torch.where(counts < self.share * expected, self.steps_unused + 1, 0)


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


class Quantizer(nn.Module):
    """Features (B, N, n_z) to one of K codes each, and codes back to vectors: what every kind can do.

    A kind says how many codes there are (`size`), which one a feature gets (`nearest`), what vector that is
    (`look_up`), and what training makes of it (`quantise`). See `models.quantizers` for those there are.

    is_warming_up: features pass as they are, and the codebook rests. This is the lab's optional warm-up, in
    which encoder and decoder first learn what there is to quantise. A training loop sets it before every step
    (`quantizer.start_step`), only training mode obeys it, and no checkpoint holds it. Kinds whose codes do
    not begin as features need none, and do not look at it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_warming_up = False

    @property
    def size(self) -> int:
        """K."""
        raise NotImplementedError

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index."""
        raise NotImplementedError

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes that `features` get outside training."""
        raise NotImplementedError

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        raise NotImplementedError

    def initialise(self, features: Float[Tensor, "*any n_z"]) -> None:
        """Start the codes from `features`, for kinds whose codes begin so."""

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        raise NotImplementedError

    def forward(
        self, features: Float[Tensor, "B N n_z"], is_padding: Bool[Tensor, "B N"] | None = None
    ) -> Quantised:
        """Quantise `features` (section 3.1). In training mode a codebook that follows them takes one step.

        is_padding: True for features that are none. Neither loss nor codebook sees them; their code is -1.
        """
        if is_padding is None:
            return self.quantise(features)
        return spread(self.quantise(features[~is_padding]), is_padding)  # (B, N, n_z) -> (M, n_z) and back


class VectorQuantizer(Quantizer):
    """The published kind: the nearest code of a codebook that follows the features while training."""

    gradient = staticmethod(straight_through)

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.commitment_weight = config.commitment_weight
        self.codebook = Codebook(
            config.codebook_size, config.code_dim, config.ema_decay, build_restart(config)
        )

    @property
    def size(self) -> int:
        """K."""
        return self.codebook.size

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index."""
        return self.codebook.codes

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes nearest to `features`."""
        return self.codebook.nearest(features)

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        return self.codebook.look_up(codes)

    def initialise(self, features: Float[Tensor, "*any n_z"]) -> None:
        """Start codes and averages from `features`, so that the first update is no jump."""
        self.codebook.initialise(features)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        codes = self.codebook.nearest(features)
        if self.training and self.is_warming_up:
            return Quantised(features, codes, features.new_zeros(()))
        quantised = self.codebook.look_up(codes)  # (..., n_z)
        with in_float32(features):
            loss = self.commitment_weight * F.mse_loss(features.to(quantised.dtype), quantised)
        if self.training:
            self.codebook.update(features, codes)
        return Quantised(self.gradient(features, quantised.to(features.dtype)), codes, loss)


def spread(packed: Quantised, is_padding: Bool[Tensor, "B N"]) -> Quantised:
    """`packed`, whose M features are real, at those places of (B, N) that are no padding.

    Zeros and the code -1 stand at padding.
    """
    features = packed.features.new_zeros(*is_padding.shape, packed.features.shape[-1])  # (B, N, n_z)
    features[~is_padding] = packed.features  # (M, n_z) to their places
    codes = torch.full(is_padding.shape, NO_CODE, device=packed.codes.device)  # (B, N)
    codes[~is_padding] = packed.codes  # (M,) to their places
    return Quantised(features, codes, packed.loss)


def build_restart(config: QuantizerConfig) -> RestartRule:
    """The restart rule that `config.restart` names."""
    if config.restart == "released":
        return ReleasedRestart()
    if config.restart == "none":
        return NoRestart()
    return ScaleFreeRestart(config.codebook_size, config.restart_share, config.restart_patience)
