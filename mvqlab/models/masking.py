"""The adaptive mask module: score every region, keep the N best (section 3.1, equations 1 to 3).

Polarity, once for the whole lab: `mask_ratio` is the share of regions *dropped*; `is_kept` is True
where a region *survives*. (The released configurations say `topk_ratio`, the share kept.)

Random and ground-truth masks stand behind the same interface, so an experiment swaps one for another
by one word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import BackboneConfig, MaskConfig
from mvqlab.models.pairs import is_among


class KeptRegions(NamedTuple):
    """What a mask module hands to the quantiser.

    features (B, N, n_z): the kept regions, normalised, projected and, if learned, times their score.
    positions (B, N): their places, rising.
    scores (B, L): the score of every region.
    is_kept (B, L): True where a region survives.
    is_padding (B, N): True after the last region of an image that keeps fewer than N; its position is L, and
        its features mean nothing. None where every image keeps N.
    """

    features: Tensor
    positions: Tensor
    scores: Tensor
    is_kept: Tensor
    is_padding: Tensor | None = None

    @property
    def all_features(self) -> Tensor:
        """Features (M, n_z) of the kept regions of all images, without padding."""
        return self.features.flatten(0, 1) if self.is_padding is None else self.features[~self.is_padding]


def n_kept(mask_ratio: float, n_positions: int) -> int:
    """N, the regions kept of L: (1 - mask_ratio) * L rounded to the nearest, and at least one.

    Rounded, not cut off: (1 - 0.9) * 100 is 9.999... in floating point and means 10.
    """
    return max(1, round((1.0 - mask_ratio) * n_positions))


def keep_best(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Positions (B, n), rising, of the `n` best of `scores` (B, L), and `is_kept` (B, L)."""
    positions = scores.topk(n, dim=1).indices.sort(dim=1).values
    return positions, is_among(positions, scores.shape[1])


def positions_above(scores: Tensor, threshold: float | Tensor) -> Tensor:
    """Positions (B, N), rising, where `scores` (B, L) reach `threshold`; of each image at least the best.

    N is the most that an image has; those with fewer are padded with L.
    """
    n_positions = scores.shape[1]
    is_kept = scores >= threshold
    is_kept = is_kept.scatter(1, scores.argmax(dim=1, keepdim=True), True)
    places = torch.arange(n_positions, device=scores.device)
    rising = places.where(is_kept, n_positions).sort(dim=1).values
    return rising[:, : int(is_kept.sum(dim=1).max())]


def gather_regions(regions: Tensor, positions: Tensor) -> Tensor:
    """The rows of `regions` (B, L, c) at `positions` (B, N): (B, N, c)."""
    return regions.gather(1, positions.unsqueeze(-1).expand(-1, -1, regions.shape[-1]))


class MLPScorer(nn.Sequential):
    """f_s as the paper has it: a two-layer MLP on each region, (B, d, h, w) -> scores (B, L) in (0, 1)."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__(nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Linear(feature_dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        regions = features.flatten(2).transpose(1, 2)
        return super().forward(regions).squeeze(-1).sigmoid()


class ConvScorer(nn.Module):
    """f_s as the released code has it: a region is scored in sight of its neighbours.

    With `norm`, LayerNorm over (d, h, w) before and BatchNorm on the single score channel after, as
    released. Both have a price: the first ties the model to one resolution, the second drifts between
    training and evaluation, and a negative gain turns the ranking upside down.
    """

    def __init__(self, feature_dim: int, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(feature_dim, feature_dim, 3, padding=1)
        self.conv2 = nn.Conv2d(feature_dim, 1, 1)
        self.batch_norm = nn.BatchNorm2d(1) if norm else None

    def forward(self, features: Tensor) -> Tensor:
        if self.batch_norm is None:
            return self.conv2(self.conv1(features).relu()).flatten(1).sigmoid()
        features = F.layer_norm(features, features.shape[1:])
        return self.batch_norm(self.conv2(self.conv1(features).relu())).flatten(1).sigmoid()


class MaskModule(nn.Module):
    """Score, keep, normalise, project. Subclasses say where the scores come from.

    n: the regions kept. trained_n: the fewest and the most that are kept in training, where each batch
    draws its number between them, so that the model learns to serve every mask ratio; default: n.
    """

    def __init__(
        self, feature_dim: int, code_dim: int, n: int, trained_n: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.n_kept = n
        self.trained_n = trained_n or (n, n)
        self.project = nn.Linear(feature_dim, code_dim, bias=False)

    def score(self, features: Tensor, importance: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Scores (B, L) of all regions of `features` (B, d, h, w); the best are kept."""
        raise NotImplementedError

    def weigh(self, kept: Tensor, scores: Tensor) -> Tensor:
        """What reaches the quantiser of the kept regions (B, N, n_z) with their scores (B, N)."""
        return kept

    def draw_n(self) -> int:
        """N for the batch at hand."""
        if not self.training:
            return self.n_kept
        fewest, most = self.trained_n
        return most if fewest == most else int(torch.randint(fewest, most + 1, ()))

    def choose(self, scores: Tensor) -> Tensor:
        """Positions (B, N), rising, of the regions that are kept by their `scores` (B, L)."""
        return keep_best(scores, self.draw_n())[0]

    def keep(self, features: Tensor, scores: Tensor, positions: Tensor) -> KeptRegions:
        """Keep the regions of `features` (B, d, h, w) at `positions` (B, N), whatever chose them.

        `scores` (B, L) are what each kept region is weighed by. A position of L is padding.
        """
        n_positions = scores.shape[1]
        read = positions.clamp(max=n_positions - 1)  # any region will do for padding, which goes nowhere
        kept = gather_regions(features.flatten(2).transpose(1, 2), read)
        kept = self.project(F.layer_norm(kept, kept.shape[-1:]))
        weighed = self.weigh(kept, scores.gather(1, read))
        return KeptRegions(weighed, positions, scores, is_among(positions, n_positions))

    def forward(
        self,
        features: Tensor,
        importance: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> KeptRegions:
        """Keep the best regions of `features` (B, d, h, w).

        `importance` (B, H, W) is the true object mask, which only `TrueMask` reads; `generator` is
        what `RandomMask` draws from (the global one if none is given).
        """
        scores = self.score(features, importance, generator)
        return self.keep(features, scores, self.choose(scores))


class AdaptiveMask(MaskModule):
    """The paper's mask: learned scores.

    Which regions survive is a hard choice without a gradient. So each kept feature is multiplied by
    its score, and that product is the only path by which the scorer learns.
    """

    def __init__(
        self,
        feature_dim: int,
        code_dim: int,
        n: int,
        scorer: nn.Module,
        trained_n: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(feature_dim, code_dim, n, trained_n)
        self.scorer = scorer

    def score(self, features: Tensor, importance: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.scorer(features)

    def weigh(self, kept: Tensor, scores: Tensor) -> Tensor:
        return kept * scores.unsqueeze(-1)


class ThresholdMask(AdaptiveMask):
    """This lab's mask with a budget for each image: regions are kept that score above a threshold.

    `n` regions are kept an image *on average*, more where there is much to see. In training the threshold
    is the batch's own, so that of B images the B * n best regions survive, whichever images they are in.
    Outside training a moving average of those thresholds serves: what is kept of an image must not depend
    on which others are in its batch.
    """

    threshold: Tensor
    decay = 0.95  # of the moving average: it looks back some twenty batches

    def __init__(self, *sizes: Any, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self.register_buffer("threshold", torch.tensor(torch.nan))

    def choose(self, scores: Tensor) -> Tensor:
        if self.training:
            self._follow(lowest_kept(scores, self.n_kept))
            return positions_above(scores, lowest_kept(scores, self.draw_n()))
        if self.threshold.isnan():  # before any training
            return positions_above(scores, lowest_kept(scores, self.n_kept))
        return positions_above(scores, self.threshold)

    def keep(self, features: Tensor, scores: Tensor, positions: Tensor) -> KeptRegions:
        return super().keep(features, scores, positions)._replace(is_padding=positions == scores.shape[1])

    @torch.no_grad()
    def _follow(self, of_batch: Tensor) -> None:
        followed = self.threshold.lerp(of_batch.float(), 1.0 - self.decay)
        self.threshold.copy_(torch.where(self.threshold.isnan(), of_batch.float(), followed))


def lowest_kept(scores: Tensor, n: int) -> Tensor:
    """The lowest () of the B * `n` best of all `scores` (B, L)."""
    return scores.detach().flatten().topk(len(scores) * n).values[-1]


class RandomMask(MaskModule):
    """The baseline of table 6: a uniform choice, drawn anew for every image."""

    def score(self, features: Tensor, importance: Tensor | None, generator: torch.Generator | None) -> Tensor:
        n_images, _, h, w = features.shape
        device = features.device if generator is None else generator.device
        return torch.rand(n_images, h * w, device=device, generator=generator).to(features.device)


class TrueMask(MaskModule):
    """The upper bound on drawn shapes: regions ranked by the share of their pixels on an object."""

    def score(self, features: Tensor, importance: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if importance is None:
            raise ValueError("the true mask needs `importance` (B, H, W), the object pixels of each image")
        coverage = region_coverage(importance, features.shape[-1]).to(features.dtype)
        # Ties (plain background) go to the region nearest to an object: blur settles them.
        h, w = features.shape[2:]
        blurred = F.avg_pool2d(coverage.view(-1, 1, h, w), 3, stride=1, padding=1, count_include_pad=False)
        return coverage + 1e-3 * blurred.flatten(1)


def region_coverage(importance: Tensor, side: int) -> Tensor:
    """Share of object pixels (B, L) in each of side * side regions of masks (B, H, W)."""
    return F.adaptive_avg_pool2d(importance.float().unsqueeze(1), side).flatten(1)


def build_mask(config: MaskConfig, backbone: BackboneConfig, code_dim: int, n_positions: int) -> MaskModule:
    """The mask module that `config.kind` names. Raises ValueError for the plain model, which has none."""
    n = n_kept(config.ratio_in_use, n_positions)
    least_dropped, most_dropped = config.ratio_range
    trained_n = (n_kept(most_dropped, n_positions), n_kept(least_dropped, n_positions))
    if config.kind == "random":
        return RandomMask(backbone.feature_dim, code_dim, n, trained_n)
    if config.kind == "truth":
        return TrueMask(backbone.feature_dim, code_dim, n, trained_n)
    if config.kind == "adaptive":
        scorer = (
            MLPScorer(backbone.feature_dim)
            if config.scorer == "mlp"
            else ConvScorer(backbone.feature_dim, config.scorer_norm)
        )
        kind = ThresholdMask if config.budget == "threshold" else AdaptiveMask
        return kind(backbone.feature_dim, code_dim, n, scorer, trained_n)
    raise ValueError("mask.kind 'none' is the plain VQ model, which has no mask module")
