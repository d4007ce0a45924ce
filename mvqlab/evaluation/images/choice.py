"""Let a trained MQ-VAE keep other regions than it would: more, fewer, or by another ranking.

    with choosing(mqvae, 16, at_random):
        held_out = collect(mqvae, [batch])    # from 16 regions drawn at random

Weights stay as they are, and so does what happens to a region once it is kept: it is normalised, projected
and multiplied by its own score. Only the choice is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.masking import KeptRegions, MaskModule, keep_best
from mvqlab.models.mqvae import MQVAE

Rank = Callable[[Tensor, torch.Generator | None], Tensor]  # scores (B, L) to what regions are kept by (B, L)


def by_score(scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The model's own choice: the regions that score highest."""
    return scores


def at_random(scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A uniform choice, drawn anew for every image."""
    device = scores.device if generator is None else generator.device
    return torch.rand(scores.shape, device=device, generator=generator).to(scores.device)


def upside_down(scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The opposite choice: the regions that score lowest."""
    return -scores


@contextmanager
def choosing(model: MQVAE, n: int, rank: Rank = by_score) -> Iterator[MQVAE]:
    """Inside the `with`, `model` keeps the `n` regions of each image that `rank` puts first.

    Raises ValueError unless 1 <= n <= L.
    """
    if not 1 <= n <= model.n_positions:
        raise ValueError(f"cannot keep {n} of {model.n_positions} regions")
    trained = model.mask
    model.mask = _OtherChoice(trained, n, rank)  # type: ignore[assignment]  # for as long as the model is lent
    try:
        yield model
    finally:
        model.mask = trained


class _OtherChoice(nn.Module):
    """A trained mask module that ranks regions by something else than their scores."""

    def __init__(self, trained: MaskModule, n: int, rank: Rank) -> None:
        super().__init__()
        self.trained, self.n, self.rank = trained, n, rank

    def forward(self, features: Tensor, context: MaskContext = NO_CONTEXT) -> KeptRegions:
        scores = self.trained.scorer(features, context)
        positions, _ = keep_best(self.rank(scores, context.generator), self.n)
        return self.trained.keep(features, scores, positions)
