"""Turn a data set into pairs of code and position, once, for stage 2 to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mvqlab.data import batches_in_order
from mvqlab.models.mqvae import Encoding, TokenModel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.progress import Progress


@dataclass
class TokenSet:
    """The pairs of a data set and the labels (M,) of its images; -1 where there is none."""

    pairs: Pairs
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: slice | Tensor) -> TokenSet:
        return TokenSet(self.pairs[rows], self.labels[rows])

    def to(self, device: torch.device | str) -> TokenSet:
        """The same tokens on another device."""
        return TokenSet(self.pairs.to(device), self.labels.to(device))


def order_pairs(encoding: Encoding, order: Literal["raster", "score"]) -> Pairs:
    """The pairs of `encoding` by rising position, or by falling score (the released code's other order)."""
    if order == "raster":
        return encoding.pairs
    return encoding.pairs.in_order(-encoding.scores.gather(1, encoding.positions))


@torch.no_grad()
def tokenise(
    model: TokenModel,
    dataset: Dataset,
    *,
    order: Literal["raster", "score"] = "raster",
    batch_size: int = 64,
    seed: int = 0,
    limit: int | None = None,
) -> TokenSet:
    """Encode `dataset` (its first `limit` images) with a trained stage-1 model; the result is on the CPU.

    `seed` is what a random mask is drawn from.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    n_images = min(len(dataset), limit or len(dataset))
    pairs, labels = [], []
    with Progress("encoding", -(-n_images // batch_size)) as progress:
        for batch in batches_in_order(dataset, batch_size, limit):
            on_device = batch.to(device)
            encoding = model.encode(on_device.images, on_device.importance, generator)
            pairs.append(order_pairs(encoding, order).to("cpu"))
            labels.append(batch.labels)
            progress.advance()
    return TokenSet(concatenate(pairs), torch.cat(labels))
