"""An arm in one file: code and position of a pair at once, from one state. What is lost if neither waits?"""

import torch
from torch import nn

from mvqlab.arms import pair_model
from mvqlab.models.pair_model import PairLogits, PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformer import CausalTransformer, Head, initialise


@pair_model("together")
class Together(PairModel):
    """One causal transformer with two heads, with as many blocks as both of Stackformer's."""

    predicts = ("code", "position")

    def __init__(self, config, *, codebook_size, side, n_pairs, start, has_end):
        super().__init__()
        width, layers = config.width, config.code_layers + config.position_layers
        self.side, self.n_pairs, self.codebook_size = side, n_pairs, codebook_size
        self.order, self.position_weight, self.has_end = config.order, config.position_weight, has_end
        self.code_embedding = nn.Embedding(codebook_size + 1, width)  # the last of each: the start pair's
        self.position_embedding = nn.Embedding(side**2 + 1, width)
        self.place_embedding = nn.Parameter(torch.zeros(n_pairs, width))
        self.start = start
        self.transformer = CausalTransformer(layers, width, config.heads, config.dropout)
        self.code_head, self.position_head = Head(width, codebook_size + 1), Head(width, side**2 + 1)
        self.apply(initialise)

    def forward(self, pairs, conditions=None):
        """Logits of all N pairs, codes (B, N, K + 1) and positions (B, N, L + 1)."""
        codes = pairs.codes.masked_fill(pairs.is_padding, self.codebook_size)
        x = self.read_all(Pairs(codes, pairs.positions, pairs.side), conditions)
        states = self.transformer(x, padding_mask=self.padding_mask(conditions, pairs.n_pairs))
        states = states[:, self.start.n_prefix :]  # (B, n_prefix + N, width) -> (B, N, width)
        return PairLogits(self.code_head(states), self.position_head(states))

    def next_pair(self, cache, previous, draw):
        """The next pair (B, 1), whose position does not know its code."""
        state = self.transformer(self.read_newest(cache, previous), cache.stacks[0])[:, -1]  # (B, width)
        codes, positions = draw("code", self.code_head(state)), draw("position", self.position_head(state))
        return Pairs(codes.unsqueeze(1), positions.unsqueeze(1), self.side)  # (B,) -> (B, 1)

    def stacks(self):
        return (self.transformer,)

    def embed(self, pairs):
        return self.code_embedding(pairs.codes) + self.position_embedding(pairs.positions)  # (B, N, width)

    def embed_start(self, n_images, conditions):
        pair = self.code_embedding.weight[self.codebook_size] + self.position_embedding.weight[self.side**2]
        return self.start(pair, n_images, conditions)
