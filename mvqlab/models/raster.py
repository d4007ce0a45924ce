"""The raster baseline: VQGAN's transformer, all L codes of an image row by row (Esser et al. 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import TransformerConfig
from mvqlab.models.pair_model import Draw, PairCache, PairLogits, PairModel
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

    def forward(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairLogits:
        """As in `PairModel`: pairs (B, L), which must be in raster order, to logits (B, L, K + 1)."""
        x = self.dropout(self.read_all(pairs, conditions))  # (B, n_prefix + L, width)
        states = self.transformer(x, padding_mask=self.padding_mask(conditions, pairs.n_pairs))
        of_codes = states[:, self.start.n_prefix :]  # (B, n_prefix + L, width) -> (B, L, width)
        return PairLogits(self.code_head(of_codes), None)

    def next_pair(self, cache: PairCache, previous: Pairs | None, draw: Draw) -> Pairs:
        """As in `PairModel`; only the code is drawn, at the next place of the grid."""
        x = self.read_newest(cache, previous)  # (B, T, width); T is 1 after the first pair
        state = self.transformer(x, cache.stacks[0])
        codes = draw("code", self.code_head(state[:, -1])).unsqueeze(1)  # logits (B, K + 1) to (B, 1)
        place = cache.n_read - 1 - self.start.n_prefix  # of what was read last
        return Pairs(codes, torch.zeros_like(codes) + place, self.side)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        """As in `PairModel`: there is but one."""
        return (self.transformer,)

    def embed(self, pairs: Pairs) -> Float[Tensor, "B N width"]:
        """As in `PairModel`: codes alone, since the place in the sequence says the position."""
        return self.code_embedding(pairs.codes)  # (B, N) -> (B, N, width)

    def embed_start(
        self, n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """As in `PairModel`: the code sos or a class, a caption's tokens before it."""
        sos = self.code_embedding.weight[self.codebook_size]  # (width,)
        return self.start(sos, n_images, conditions)  # (B, n_prefix + 1, width)
