"""What every network is to those who compare images by its features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mvqlab.evaluation.judging_networks import AlwaysEvaluating


class FeatureExtractor(AlwaysEvaluating):
    """A frozen network, or several: uint8 images (B, 3, H, W) -> features (B, num_features).

    name: in words. column: what its FID and KID columns end in.
    """

    def __init__(self, name: str, column: str, num_features: int) -> None:
        super().__init__()
        self.name, self.column, self.num_features = name, column, num_features

    @property
    def device(self) -> torch.device:
        """Where images must be."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def answers(self, features: Tensor) -> Tensor | None:
        """The network's logits over its classes (B, C) from features (B, num_features); None without any."""
        return None

    @property
    def members(self) -> list[FeatureExtractor]:
        """The networks whose features stand side by side in its own: itself, if it is a single one."""
        return [self]

    def by_member(self, features: Tensor) -> list[Tensor]:
        """`features` (B, num_features) apart, those of each member (B, its num_features)."""
        members = self.members
        if len(members) == 1:
            return [features]
        return list(features.split([member.num_features for member in members], dim=1))


Extractors = FeatureExtractor | Sequence[FeatureExtractor] | None  # one, several or none


def each_of(extractors: Extractors) -> list[FeatureExtractor]:
    """All that are meant."""
    if extractors is None:
        return []
    return [extractors] if isinstance(extractors, FeatureExtractor) else list(extractors)
