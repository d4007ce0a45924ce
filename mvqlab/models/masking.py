"""The adaptive mask module: score every region, keep the N best (section 3.1, equations 1 to 3).

    features (B, d, h, w) --scorer f_s--> scores (B, L) --N best--> positions (B, N)
    the features at those positions --LayerNorm, linear, times their score--> (B, N, n_z), to the quantiser

Symbols: B images; d channels on a grid of h x w places, L = h * w, numbered row by row; N regions kept;
n_z the dimension of a code.

Polarity, once for the whole lab: `mask_ratio` is the share of regions *dropped*; `is_kept` is True
where a region *survives*. (The released configurations say `topk_ratio`, the share kept.)

Every mask is a `MaskModule`. What regions are scored by stands in models/scorers.py: a learned network,
chance, a measure of the image, the true objects. Controls of what else the mask does are in mask_controls.py,
other numbers of regions for each image in budgets.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import MaskConfig
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.pairs import is_among

PUBLISHED = MaskConfig()  # how the paper keeps: with LayerNorm, by learned scores, times the score


class KeptRegions(NamedTuple):
    """What a mask module hands to the quantiser.

    features: the kept regions, normalised, projected and, where the mask has that product, times their score.
    positions: their places, rising.
    scores: the score of every region.
    is_kept: True where a region survives.
    is_padding: True after the last region of an image that keeps fewer than N; its position is L, and its
        features mean nothing. None where every image keeps N.
    """

    features: Float[Tensor, "B N n_z"]
    positions: Int[Tensor, "B N"]
    scores: Float[Tensor, "B L"]
    is_kept: Bool[Tensor, "B L"]
    is_padding: Bool[Tensor, "B N"] | None = None

    @property
    def all_features(self) -> Float[Tensor, "M n_z"]:
        """Features of the M kept regions of all images, without padding."""
        if self.is_padding is None:
            return self.features.flatten(0, 1)  # (B, N, n_z) -> (B N, n_z)
        return self.features[~self.is_padding]  # (B, N, n_z) -> (M, n_z)


# ------------------------------------------------------------------------------------- which regions are kept


def n_kept(mask_ratio: float, n_positions: int) -> int:
    """N, the regions kept of L = `n_positions`: (1 - mask_ratio) * L rounded to the nearest, at least one.

    Rounded, not cut off: (1 - 0.9) * 100 is 9.999... in floating point and means 10.
    """
    return max(1, round((1.0 - mask_ratio) * n_positions))


def ranks_of(scores: Float[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """The rank of each of `scores` in its row, 0 for the highest."""
    return scores.argsort(dim=1, descending=True).argsort(dim=1)


def keep_best(scores: Float[Tensor, "B L"], n: int) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B L"]]:
    """Positions of the N = `n` best of `scores`, rising, and `is_kept` (section 3.1)."""
    positions = scores.topk(n, dim=1).indices.sort(dim=1).values  # (B, L) -> (B, N)
    return positions, is_among(positions, scores.shape[1])


def gather_regions(regions: Float[Tensor, "B L c"], positions: Int[Tensor, "B N"]) -> Float[Tensor, "B N c"]:
    """The rows of `regions` at `positions`, each image its own."""
    index = positions.unsqueeze(-1).expand(-1, -1, regions.shape[-1])  # (B, N) -> (B, N, 1) -> (B, N, c)
    return regions.gather(1, index)  # (B, L, c) -> (B, N, c)


# --------------------------------------------------------------------------------------------------- modules


class MaskModule(nn.Module):
    """Score, keep, normalise, project (section 3.1), whatever the scorer.

    n: N, the regions kept of an image. n_in_training: the fewest and the most of them in training, where each
    batch draws its N between the two, so that the model learns to serve every mask ratio; default: n, n.
    settings: `norm` is read here, the LayerNorm of kept features, which only a control leaves out.
    """

    ramp = 1.0  # how much of what is to be dropped in training is dropped by now, see training/warm_up.py
    pads = False  # whether images may keep fewer than N, so that positions of L are marked as padding

    def __init__(
        self,
        feature_dim: int,
        code_dim: int,
        n: int,
        scorer: nn.Module,
        n_in_training: tuple[int, int] | None = None,
        settings: MaskConfig = PUBLISHED,
    ) -> None:
        super().__init__()
        self.n = n
        self.n_in_training = n_in_training or (n, n)
        self.project = nn.Linear(feature_dim, code_dim, bias=False)
        self.scorer = scorer
        self.settings = settings

    def forward(self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT) -> KeptRegions:
        """Keep the best regions of `features`, as (B, N, n_z); `context` is for scorers that need it."""
        scores = self.score(features, context)  # (B, L)
        return self.keep(features, scores, self.positions_to_keep(scores))

    def score(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """The score of every region of `features`."""
        return self.scorer(features, context)

    def positions_to_keep(self, scores: Float[Tensor, "B L"]) -> Int[Tensor, "B N"]:
        """Positions, rising, of the regions that are kept by their `scores`."""
        return self.best(scores, self.n_of_batch(scores.shape[1]))

    def positions_of_n(self, scores: Float[Tensor, "B L"], n: int) -> Int[Tensor, "B N"]:
        """Positions, rising, of what would be kept by the `scores` if `n` regions of an image were."""
        before, self.n = self.n, n
        try:
            return self.positions_to_keep(scores)
        finally:
            self.n = before

    def best(self, ranked: Float[Tensor, "B L"], n: int) -> Int[Tensor, "B N"]:
        """Positions, rising, of the `n` regions that are `ranked` highest."""
        return keep_best(ranked, n)[0]

    def n_of_batch(self, n_positions: int) -> int:
        """N of L = `n_positions` for this batch: `n`; in training, drawn uniformly from `n_in_training`.

        While the ratio still rises (`ramp`), it lies between that and L.
        """
        if not self.training:
            return self.n
        return self.drawn(*self.n_in_training, n_positions)

    def drawn(self, fewest: int, most: int, of_all: int) -> int:
        """Drawn uniformly from `fewest` to `most`; while the ratio still rises, nearer to `of_all`."""
        n = most if fewest == most else int(torch.randint(fewest, most + 1, ()))
        return of_all - round(self.ramp * (of_all - n))

    def keep(
        self,
        features: Float[Tensor, "B d h w"],
        scores: Float[Tensor, "B L"],
        positions: Int[Tensor, "B N"],
    ) -> KeptRegions:
        """Keep the regions of `features` at `positions`, whatever chose them (section 3.1).

        `scores` are what each kept region is weighed by. A position of L is padding.
        """
        n_positions = scores.shape[1]
        read = positions.clamp(max=n_positions - 1)  # any region will do for padding, which goes nowhere
        regions = features.flatten(2).transpose(1, 2)  # (B, d, h, w) -> (B, d, L) -> (B, L, d)
        kept = gather_regions(regions, read)  # (B, N, d)
        normalised = F.layer_norm(kept, kept.shape[-1:]) if self.settings.norm else kept  # (B, N, d)
        kept = self.project(normalised)  # (B, N, n_z)
        weighed = self.weigh(kept, scores.gather(1, read))  # scores (B, L) -> (B, N)
        is_padding = positions == n_positions if self.pads else None
        return KeptRegions(weighed, positions, scores, is_among(positions, n_positions), is_padding)

    def weigh(self, kept: Float[Tensor, "B N n_z"], scores: Float[Tensor, "B N"]) -> Float[Tensor, "B N n_z"]:
        """What reaches the quantiser: `kept` as they are. Subclasses may multiply them by their `scores`."""
        return kept


class AdaptiveMask(MaskModule):
    """The paper's mask: learned scores.

    Which regions survive is a hard choice without a gradient. So each kept feature is multiplied by
    its score, and that product is the only path by which the scorer learns, unless it has a loss of its own
    (`loss.scorer_weight`, see `training.losses.scorer_loss`).

    settings: `product` may be the paper's `score`; `straight_through`, which leaves the features as long as
    they are, with the same gradient for the score as if it were 1; or `none`, where the scorer learns by a
    loss of its own or stays as it began. `exploration` is of Gumbel noise on the scores' logits, in training
    alone, so that a region that was dropped once gets another chance; 0, as published, for none.
    """

    # how much of the exploration is left, see training/warm_up.py; a tensor () where a device counts steps
    fading: float | Float[Tensor, ""] = 1.0

    def score(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """The score of every region; without the product, no gradient goes from it to the encoder."""
        return super().score(
            features.detach() if self.settings.product_in_use == "none" else features, context
        )

    def ranked_by(self, scores: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """What regions are chosen by, high for what is kept: their `scores`, with some noise in training."""
        noise = self.settings.exploration * self.fading
        has_noise = isinstance(noise, Tensor) or noise > 0.0  # a device is not asked, and waited for
        return explored(scores, noise) if self.training and has_noise else scores

    def positions_to_keep(self, scores: Float[Tensor, "B L"]) -> Int[Tensor, "B N"]:
        """Positions, rising, of the regions that are kept by their `scores`."""
        return super().positions_to_keep(self.ranked_by(scores))

    def weigh(self, kept: Float[Tensor, "B N n_z"], scores: Float[Tensor, "B N"]) -> Float[Tensor, "B N n_z"]:
        """The kept features times their scores (section 3.1)."""
        product = self.settings.product_in_use
        if product == "none":
            return kept
        if product == "straight_through":
            scores = scores - scores.detach() + 1.0  # (B, N), all ones: only the gradient is the scores'
        return kept * scores.unsqueeze(-1)  # (B, N, n_z) * (B, N, 1)


def explored(scores: Float[Tensor, "B L"], exploration: float | Float[Tensor, ""]) -> Float[Tensor, "B L"]:
    """Logits of `scores` with Gumbel noise: their N best are N draws without repetition (Kool 2019)."""
    return scores.detach().logit(eps=1e-6) + exploration * gumbel_noise(scores)


def gumbel_noise(
    like: Float[Tensor, "B L"], generator: torch.Generator | None = None
) -> Float[Tensor, "B L"]:
    """-log(-log u), of the shape, type and device of `like`."""
    uniform = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    return -(-uniform.clamp_min(torch.finfo(like.dtype).tiny).log()).log()
