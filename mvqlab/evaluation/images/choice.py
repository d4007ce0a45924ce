"""Let a trained MQ-VAE keep other regions than it would: more, fewer, or by another ranking.

    with choosing(mqvae, 16):
        held_out = collect(mqvae, [batch])    # from the 16 regions that it would keep
    with choosing(mqvae, 16, at_random):
        held_out = collect(mqvae, [batch])    # from 16 regions drawn at random
    with choosing(mqvae, 16, by_kind("variance")):
        held_out = collect(mqvae, [batch])    # from those 16 whose pixels differ most

Weights stay as they are, and so does what happens to a region once it is kept: it is normalised, projected
and, where the model does so, multiplied by its own score. Only the choice is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from mvqlab.models.dual_grain import DualGrainMask
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.masking import KeptRegions, MaskModule
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.scorers import unlearned_scorer

# what regions are kept by (B, L), high for what is kept first, from scores (B, L) and what else one may see
Rank = Callable[[Tensor, MaskContext], Tensor]


def by_score(scores: Tensor, context: MaskContext = NO_CONTEXT) -> Tensor:
    """The regions that score highest, which the paper's mask keeps."""
    return scores


def upside_down(scores: Tensor, context: MaskContext = NO_CONTEXT) -> Tensor:
    """The regions that score lowest."""
    return -scores


def by_kind(kind: str) -> Rank:
    """The choice that `mask.kind` names: random, measured on the image, by the true objects.

    It reads `images`, `importance` or the `generator` of the context, as that scorer does in training.
    Raises KeyError for a kind of which there is none.
    """
    learned: dict[str, Rank] = {"adaptive": by_score, "upside_down": upside_down}
    if kind in learned:
        return learned[kind]
    scorer = unlearned_scorer(kind)

    def rank(scores: Tensor, context: MaskContext = NO_CONTEXT) -> Tensor:
        side = round(scores.shape[1] ** 0.5)
        grid = scores.unflatten(1, (1, side, side))  # (B, L) -> (B, 1, h, w)
        return scorer(grid, context)

    return rank


at_random = by_kind("random")


@contextmanager
def choosing(model: MQVAE, n: int, rank: Rank | None = None) -> Iterator[MQVAE]:
    """Inside the `with`, `model` keeps the `n` regions of each image that `rank` puts first.

    Without a `rank` they are those that the model would keep by itself, were it to keep as many: by a
    threshold, too, the best `n` of each image.
    With `mask.kind=dual_grain` the blocks that `rank` puts first on average are fine, as many as bring the
    pairs nearest to `n`.

    Raises ValueError unless 1 <= n <= L; with dual grain, where that is too few for a pair a block.
    """
    if not 1 <= n <= model.n_positions:
        raise ValueError(f"cannot keep {n} of {model.n_positions} regions")
    trained = model.mask
    if isinstance(trained, DualGrainMask):
        n = trained.nearest(n)
    model.mask = _OtherChoice(trained, n, rank)  # type: ignore[assignment]  # for as long as the model is lent
    try:
        yield model
    finally:
        model.mask = trained


class _OtherChoice(nn.Module):
    """A trained mask module that ranks regions by something else than their scores."""

    def __init__(self, trained: MaskModule, n: int, rank: Rank | None) -> None:
        super().__init__()
        self.trained, self.n, self.rank = trained, n, rank

    def forward(self, features: Tensor, context: MaskContext = NO_CONTEXT) -> KeptRegions:
        scores = self.trained.score(features, context)
        if self.rank is None:
            positions = self.trained.positions_of_n(scores, self.n)
        else:
            positions = self.trained.best(self.rank(scores, context), self.n)
        return self.trained.keep(features, scores, positions)
