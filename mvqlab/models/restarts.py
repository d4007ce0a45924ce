"""Codes that nobody chooses: when one counts as unused, and what it begins anew from.

The restart rule says when, and is a small class: see `ScaleFreeRestart` and `ReleasedRestart`. What a code
begins from is one of the features at hand.

Symbols: K codes of dimension n_z; M features in a row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import QuantizerConfig
from mvqlab.models.ranks import from_first_rank


def is_usable(features: Float[Tensor, "M n_z"]) -> Bool[Tensor, " M"]:
    """True for those of `features` whose length is finite.

    It is not of NaN and infinities, nor of numbers so large that distances to them overflow. One of them in
    a moving average would make its code NaN for good, and no number is less than the distance to NaN.
    """
    return features.square().sum(dim=1).isfinite()


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


def build_restart(config: QuantizerConfig) -> RestartRule:
    """The restart rule that `config.restart` names."""
    if config.restart == "released":
        return ReleasedRestart()
    if config.restart == "none":
        return NoRestart()
    return ScaleFreeRestart(config.codebook_size, config.restart_share, config.restart_patience)
