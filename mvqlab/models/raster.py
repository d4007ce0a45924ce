"""The raster baseline: VQGAN's transformer, all L codes of an image row by row (Esser et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mvqlab.config import TransformerConfig
from mvqlab.models.pair_model import Draw, NextPair, PairCache, PairLogits, PairModel, Part, StartPair
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformer import CausalTransformer, Head, initialise


class RasterTransformer(PairModel):
    """One causal transformer with code_layers + position_layers blocks; positions are given.

    A place in the sequence is a place in the grid, so the place embedding says both.
    """

    predicts = ("code",)

    def __init__(
        self, config: TransformerConfig, *, codebook_size: int, side: int, n_classes: int = 0
    ) -> None:
        """Build for `codebook_size` codes K on a grid of side * side places; see `Stackformer`."""
        super().__init__()
        self.side, self.n_pairs, self.codebook_size = side, side**2, codebook_size
        self.code_embedding = nn.Embedding(codebook_size + 1, config.width)
        self.place_embedding = nn.Parameter(torch.zeros(side**2, config.width))
        self.start = StartPair(n_classes, config.width)
        self.dropout = nn.Dropout(config.dropout)
        layers = config.code_layers + config.position_layers
        self.transformer = CausalTransformer(
            layers, config.width, config.heads, config.dropout, config.activation_checkpointing
        )
        self.code_head = Head(config.width, codebook_size + 1)
        self.apply(initialise)

    def forward(self, pairs: Pairs, labels: Tensor | None = None) -> PairLogits:
        """As in `PairModel`. The pairs must be in raster order, which is not looked at."""
        start = self.start_pair(len(pairs), labels).unsqueeze(1)
        read = torch.cat([start, self.code_embedding(pairs.codes[:, :-1])], dim=1)
        read = read + self.place_embedding[: read.shape[1]]
        return PairLogits(self.code_head(self.transformer(self.dropout(read))), None)

    def next_pair(self, cache: PairCache, previous: NextPair | None, draw: Mapping[Part, Draw]) -> NextPair:
        place = cache.stacks[0].n_read
        read = cache.start if previous is None else self.code_embedding(previous.codes)
        state = self.transformer((read + self.place_embedding[place]).unsqueeze(1), cache.stacks[0])
        codes = draw["code"](self.code_head(state[:, 0]))
        return NextPair(codes, torch.zeros_like(codes) + place)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        return (self.transformer,)

    def start_pair(self, n_images: int, labels: Tensor | None) -> Tensor:
        return self.start(self.code_embedding.weight[self.codebook_size], n_images, labels)
