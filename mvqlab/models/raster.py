"""The raster baseline: VQGAN's transformer, all L codes of an image row by row (Esser et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mvqlab.config import TransformerConfig
from mvqlab.models.pair_model import Draw, NextPair, PairCache, PairLogits, PairModel, Part, add_from
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import Start
from mvqlab.models.transformer import CausalTransformer, Head, initialise


class RasterTransformer(PairModel):
    """One causal transformer with code_layers + position_layers blocks; positions are given.

    A place in the sequence is a place in the grid, so the place embedding says both.
    """

    predicts = ("code",)

    def __init__(
        self, config: TransformerConfig, *, codebook_size: int, side: int, start: Start | None = None
    ) -> None:
        """Build for `codebook_size` codes K on a grid of side * side places; see `Stackformer`."""
        super().__init__()
        self.side, self.n_pairs, self.codebook_size = side, side**2, codebook_size
        self.code_embedding = nn.Embedding(codebook_size + 1, config.width)
        self.place_embedding = nn.Parameter(torch.zeros(side**2, config.width))
        self.start = start or Start()
        self.dropout = nn.Dropout(config.dropout)
        layers = config.code_layers + config.position_layers
        self.transformer = CausalTransformer(
            layers, config.width, config.heads, config.dropout, config.activation_checkpointing
        )
        self.code_head = Head(config.width, codebook_size + 1)
        self.apply(initialise)

    def forward(self, pairs: Pairs, conditions: Tensor | None = None) -> PairLogits:
        """As in `PairModel`. The pairs must be in raster order, which is not looked at."""
        before = self.begin_with(len(pairs), conditions)
        read = torch.cat([before, self.code_embedding(pairs.codes[:, :-1])], dim=1)
        read = add_from(read, self.start.n_prefix, self.place_embedding[: pairs.n_pairs])
        states = self.transformer(self.dropout(read), heard=self.heard(conditions, pairs.n_pairs))
        return PairLogits(self.code_head(states[:, self.start.n_prefix :]), None)

    def next_pair(self, cache: PairCache, previous: NextPair | None, draw: Mapping[Part, Draw]) -> NextPair:
        read = cache.start if previous is None else self.code_embedding(previous.codes).unsqueeze(1)
        n_before = read.shape[1] - 1  # places that come before the newest pair's, in the first step only
        place = cache.stacks[0].n_read + n_before - self.start.n_prefix
        read = add_from(read, n_before, self.place_embedding[place])
        state = self.transformer(read, cache.stacks[0])
        codes = draw["code"](self.code_head(state[:, -1]))
        return NextPair(codes, torch.zeros_like(codes) + place)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        return (self.transformer,)

    def begin_with(self, n_images: int, conditions: Tensor | None) -> Tensor:
        return self.start(self.code_embedding.weight[self.codebook_size], n_images, conditions)
