"""How many regions an image keeps, where not all keep N: by a threshold, or by a draw of its own.

Images with fewer regions than the most in a batch are padded with positions of L.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import MaskConfig
from mvqlab.models.masking import PUBLISHED, AdaptiveMask, ranks_of
from mvqlab.models.pairs import positions_where


def positions_above(scores: Float[Tensor, "B L"], threshold: float | Float[Tensor, ""]) -> Int[Tensor, "B N"]:
    """Positions, rising, where `scores` reach `threshold`; of each image at least the best.

    N is the most that an image has; those with fewer are padded with L.
    """
    best = scores.argmax(dim=1, keepdim=True)  # (B, L) -> (B, 1)
    return positions_where((scores >= threshold).scatter(1, best, True))


def best_of_each(scores: Float[Tensor, "B L"], n: Int[Tensor, " B"]) -> Int[Tensor, "B N"]:
    """Positions, rising, of the best of `scores`, of each image as many as its `n` says, padded with L."""
    rank = ranks_of(scores)  # (B, L)
    return positions_where(rank < n.unsqueeze(1))  # (B, L) against (B, 1)


def lowest_kept(scores: Float[Tensor, "B L"], n: int) -> Float[Tensor, ""]:
    """The lowest of the B * `n` best of all `scores`: the threshold that keeps `n` an image on average."""
    return scores.detach().flatten().topk(len(scores) * n).values[-1]  # (B, L) -> (B L,) -> (B n,) -> ()


class PrefixMask(AdaptiveMask):
    """Nested dropout over regions: in training each image keeps as many of its best as it draws for itself.

    So the order of the scores gets a meaning: the first n regions decode without the rest, whatever n is. A
    range of mask ratios teaches that, too, with one n for all images of a batch. Outside training every image
    keeps `n`. Sources: Rippel et al. 2014; for tokens FlexTok (arXiv 2502.13967) and One-D-Piece
    (arXiv 2501.10064), whose tokens have no place in the image.
    """

    @property
    def pads(self) -> bool:  # type: ignore[override]
        """Whether images may keep fewer than N: in training."""
        return self.training

    def positions_to_keep(self, scores: Float[Tensor, "B L"]) -> Int[Tensor, "B N"]:
        """Positions, rising, of the best `scores`; in training as many as each image draws, padded with L."""
        if not self.training:
            return super().positions_to_keep(scores)
        n = [self.n_of_batch(scores.shape[1]) for _ in scores]  # one draw an image
        return best_of_each(self.ranked_by(scores), torch.tensor(n, device=scores.device))


class ThresholdMask(AdaptiveMask):
    """This lab's mask with a budget for each image: regions are kept that score above a threshold.

    `n` regions are kept an image *on average*, more where there is much to see. In training the threshold
    is the batch's own, so that of B images the B * n best regions survive, whichever images they are in.
    Outside training a moving average of those thresholds serves: what is kept of an image must not depend
    on which others are in its batch.
    """

    threshold: Float[Tensor, ""]
    pads = True
    decay = 0.95  # of the moving average: it looks back some twenty batches

    def __init__(
        self,
        feature_dim: int,
        code_dim: int,
        n: int,
        scorer: nn.Module,
        n_in_training: tuple[int, int] | None = None,
        settings: MaskConfig = PUBLISHED,
    ) -> None:
        super().__init__(feature_dim, code_dim, n, scorer, n_in_training, settings)
        self.register_buffer("threshold", torch.tensor(torch.nan))

    def positions_to_keep(self, scores: Float[Tensor, "B L"]) -> Int[Tensor, "B N"]:
        """Positions, rising, of `scores` above the threshold, padded with L. Training moves the threshold."""
        if self.training:
            self._average_in(lowest_kept(scores, self.n))
            ranked = self.ranked_by(scores)  # (B, L)
            return positions_above(ranked, lowest_kept(ranked, self.n_of_batch(scores.shape[1])))
        if self.threshold.isnan():  # before any training
            return positions_above(scores, lowest_kept(scores, self.n))
        return positions_above(scores, self.threshold)

    def positions_of_n(self, scores: Float[Tensor, "B L"], n: int) -> Int[Tensor, "B N"]:
        """Positions, rising, of the `n` best `scores` of each image, whatever the threshold."""
        return self.best(scores, n)

    @torch.no_grad()
    def _average_in(self, threshold_of_batch: Float[Tensor, ""]) -> None:
        """Move the average towards a batch's own threshold; the first batch's is where it starts."""
        newest = threshold_of_batch.float()
        moved = self.threshold.lerp(newest, 1.0 - self.decay)  # decay * threshold + (1 - decay) * newest
        self.threshold.copy_(torch.where(self.threshold.isnan(), newest, moved))
