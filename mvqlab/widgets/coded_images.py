"""Held-out images, coded once, so that any code can be shown by the regions that lie nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvqlab.data import build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.codebook.code_patches import cut_regions
from mvqlab.evaluation.codebook.neighbours import CodePair, neighbours_of
from mvqlab.evaluation.codebook.usage import code_counts
from mvqlab.models.mqvae import TokenModel


class NearRegions(NamedTuple):
    """Regions of a code, those that took it first: patches (m, s, s, 3), and whether they took it (m,)."""

    patches: NDArray[np.uint8]
    took_it: Tensor


@dataclass(frozen=True)
class CodedImages:
    """Images (B, 3, H, W) uint8, and their kept regions: features (M, n_z), codes, rows, positions (M,)."""

    model: TokenModel
    images: Tensor
    features: Tensor
    codes: Tensor
    rows: Tensor
    positions: Tensor

    @property
    def counts(self) -> Tensor:
        """How often each code was taken (K,)."""
        return code_counts(self.codes, self.model.codebook_size)

    def regions_of(self, code: int, n: int = 8) -> Tensor:
        """`n` regions that took `code`, nearest first, then, where they are too few, nearest others."""
        nearest = (self.features - self.model.codebook[code]).norm(dim=1).argsort(stable=True)
        took_it = self.codes[nearest] == code
        return torch.cat([nearest[took_it], nearest[~took_it]])[:n]

    def near(self, code: int, n: int = 8, context: int = 1) -> NearRegions:
        """`regions_of` a code, with `context` regions around each."""
        best = self.regions_of(code, n)
        patches = cut_regions(self.images, self.rows[best], self.positions[best], self.model.side, context)
        return NearRegions(patches, self.codes[best] == code)

    def neighbours(self, code: int, n: int = 6) -> list[CodePair]:
        """The `n` codes in use nearest to `code`. Raises ValueError where `code` is not in use itself."""
        return neighbours_of(self.model.codebook, self.counts, code, n)


@torch.no_grad()
def code_images(model: TokenModel, n: int = 256) -> CodedImages:
    """Code the first `n` held-out images of the data that `model` was trained on."""
    dataset = build_splits(model.config.data).validation
    images = torch.stack([dataset[index]["image"] for index in range(min(n, len(dataset)))])
    kept = model.select(images)
    features = kept.all_features
    rows, places = (kept.positions < model.n_positions).nonzero(as_tuple=True)
    return CodedImages(
        model=model,
        images=to_uint8(images),
        features=features,
        codes=model.quantizer.nearest(features),
        rows=rows,
        positions=kept.positions[rows, places],
    )
