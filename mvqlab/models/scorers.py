"""What says which regions are important: the learned scorers f_s (section 3.1), and those that learn nothing.

A scorer takes features (B, d, h, w) and a `MaskContext`, and returns scores (B, L), high for what is kept
first. Those that look at the image itself stand in `image_scorers`. One more is an arm in a file of your own,
see ablations/ARMS.md. One that comes with mvqlab is a class, a line in `UNLEARNED_SCORERS` and a word in
`MaskKind` (mvqlab/config/words.py); if it learns, a choice in `build_learned_scorer` and a word in
`ScorerKind`.

Symbols: B images; d channels on a grid of h x w places, L = h * w, numbered row by row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvqlab.config import MaskConfig
from mvqlab.config.own_arms import own_builders
from mvqlab.models.image_scorers import (
    EntropyScorer,
    GradientScorer,
    NeighbourScorer,
    TransformScorer,
    VarianceScorer,
    settle_ties,
)
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext


class MLPScorer(nn.Sequential):
    """f_s as the paper has it (section 3.1): a two-layer MLP on each region by itself."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__(nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Linear(feature_dim, 1))

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores in (0, 1) from `features`."""
        regions = features.flatten(2).transpose(1, 2)  # (B, d, h, w) -> (B, d, L) -> (B, L, d)
        return super().forward(regions).squeeze(-1).sigmoid()  # (B, L, 1) -> (B, L)


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

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores in (0, 1) from `features`."""
        if self.batch_norm is None:
            score_map = self.conv2(self.conv1(features).relu())  # (B, 1, h, w)
        else:
            features = F.layer_norm(features, features.shape[1:])
            score_map = self.batch_norm(self.conv2(self.conv1(features).relu()))  # (B, 1, h, w)
        return score_map.flatten(1).sigmoid()  # (B, 1, h, w) -> (B, L)


class RandomScorer(nn.Module):
    """The baseline of table 6: a uniform choice, drawn anew for every image."""

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores, uniform in [0, 1), drawn from `context.generator`; `features` give but the shape."""
        n_images, _, h, w = features.shape
        generator = context.generator
        device = features.device if generator is None else generator.device
        return torch.rand(n_images, h * w, device=device, generator=generator).to(features.device)


class TruthScorer(nn.Module):
    """Knows the objects: regions are ranked by the share of their pixels on one."""

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores from 0 to 1.001, of `context.importance`. Raises ValueError if there is none."""
        if context.importance is None:
            raise ValueError("the true mask needs `importance` (B, H, W), the object pixels of each image")
        side = features.shape[-1]
        coverage = region_coverage(context.importance, side).to(features.dtype)  # (B, L)
        return settle_ties(coverage, side)  # plain background goes by how near an object is


class BackgroundScorer(TruthScorer):
    """The truth turned around: what lies on no object comes first, and furthest from one."""

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores from -1.001 to 0, of `context.importance`. Raises ValueError if there is none."""
        return -super().forward(features, context)


def region_coverage(importance: Bool[Tensor, "B H W"], side: int) -> Float[Tensor, "B L"]:
    """Share of object pixels, 0 to 1, in each of L = side * side regions of the masks `importance`."""
    pixels = importance.float().unsqueeze(1)  # (B, H, W) -> (B, 1, H, W)
    return F.adaptive_avg_pool2d(pixels, side).flatten(1)  # (B, 1, H, W) -> (B, 1, h, w) -> (B, L)


# by `mask.kind`; `adaptive` has a learned one, see `build_learned_scorer`
UNLEARNED_SCORERS: dict[str, type[nn.Module]] = {
    "random": RandomScorer,
    "truth": TruthScorer,
    "background": BackgroundScorer,
    "variance": VarianceScorer,
    "gradient": GradientScorer,
    "transform": TransformScorer,
    "neighbours": NeighbourScorer,
    "entropy": EntropyScorer,
}


def unlearned_scorer(kind: str) -> nn.Module:
    """The scorer that learns nothing of this `mask.kind`. Raises KeyError if there is none."""
    build = UNLEARNED_SCORERS.get(kind) or own_builders("mask.kind")[kind]
    return build()


def build_learned_scorer(config: MaskConfig, feature_dim: int) -> nn.Module:
    """The learned scorer that `config.scorer` names."""
    if config.scorer not in ("mlp", "conv"):
        return own_builders("mask.scorer")[config.scorer](feature_dim)
    return MLPScorer(feature_dim) if config.scorer == "mlp" else ConvScorer(feature_dim, config.scorer_norm)
