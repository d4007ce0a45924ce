"""Stackformer: predict the next code *and where it goes* (section 3.2).

A sequence starts with a start pair and then holds the pairs of an image:

    read      (sos, L)   (k_1, p_1)   (k_2, p_2)  ...  (k_N-1, p_N-1)
                 |           |            |                  |
    Code-Transformer, causal: its state at n predicts        k_n+1
                 |           |            |                  |
              + k_1       + k_2        + k_3     ...      + k_N         (the true next code)
    Position-Transformer, causal: predicts                   p_n+1

The position-first stack is the same with code and position exchanged. Where images have more and fewer
pairs, the start's code sos comes once more after the last pair (position-first: its position L), and is the
end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import TransformerConfig
from mvqlab.models.pair_model import Draw, PairCache, PairLogits, PairModel, add_behind_prefix
from mvqlab.models.pairs import Pairs, Part, by_part
from mvqlab.models.start import Start
from mvqlab.models.transformer import CausalTransformer, Head, initialise


class PartLayers(NamedTuple):
    """What of the model belongs to one part of a pair: how it is read, what predicts it, and its logits."""

    embedding: nn.Embedding
    transformer: CausalTransformer
    head: Head


class Stackformer(PairModel):
    """Two causal transformers, one on the other; `config.first` says what the lower one predicts."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        codebook_size: int,
        side: int,
        n_pairs: int,
        start: Start | None = None,
        has_end: bool = False,
    ) -> None:
        """Build for `codebook_size` codes K on a grid of L = side * side places, `n_pairs` pairs an image.

        start: what sequences are conditioned on; None: nothing. has_end: images have up to `n_pairs` pairs.
        """
        super().__init__()
        width = config.width
        self.predicts = ("code", "position") if config.first == "code" else ("position", "code")
        self.side, self.n_pairs, self.codebook_size = side, n_pairs, codebook_size
        self.order, self.position_weight, self.has_end = config.order, config.position_weight, has_end
        self.code_embedding = nn.Embedding(codebook_size + config.start_codes, width)
        self.position_embedding = nn.Embedding(side**2 + 1, width)
        self.place_embedding = nn.Parameter(torch.zeros(config.block_size or n_pairs, width))
        self.start = start or Start()
        self.dropout = nn.Dropout(config.dropout)
        shape = (width, config.heads, config.dropout, config.activation_checkpointing)
        self.code_transformer = CausalTransformer(config.code_layers, *shape)
        self.position_transformer = CausalTransformer(config.position_layers, *shape)
        self.code_head = Head(width, codebook_size + config.start_codes)
        self.position_head = Head(width, side**2 + 1)
        self.apply(initialise)

    def forward(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairLogits:
        """As in `PairModel`: logits (B, N, K + start_codes) of codes and (B, N, L + 1) of positions."""
        pairs = self._readable(pairs)
        first, second = self.predicts
        lower, upper = self.layers(first), self.layers(second)
        n_prefix = self.start.n_prefix
        padding_mask = self.padding_mask(conditions, pairs.n_pairs)
        x = self.dropout(self.read_all(pairs, conditions))  # (B, n_prefix + N, width)
        # at the n-th place, the lower stack knows the pairs before it, the upper one its first part, too
        state = lower.transformer(x, padding_mask=padding_mask)
        x = add_behind_prefix(state, lower.embedding(pairs.of(first)))  # + the true next: (B, N, width)
        states = {first: state, second: upper.transformer(x, padding_mask=padding_mask)}
        # the prefix predicts nothing: (B, n_prefix + N, width) -> (B, N, width) -> (B, N, number of logits)
        logits = {part: self.layers(part).head(states[part][:, n_prefix:]) for part in self.predicts}
        return PairLogits(logits["code"], logits["position"])

    def next_pair(self, cache: PairCache, previous: Pairs | None, draw: Draw) -> Pairs:
        """As in `PairModel`: what `forward` does, for the newest place alone."""
        first, second = self.predicts
        lower, upper = self.layers(first), self.layers(second)
        x = self.read_newest(cache, previous)  # (B, T, width); T is 1 after the first pair
        state = lower.transformer(x, cache.stacks[0])  # (B, T, width)
        drawn = {first: draw(first, lower.head(state[:, -1]))}  # logits (B, n) to (B,)
        embedded = lower.embedding(drawn[first]).unsqueeze(1)  # (B,) -> (B, width) -> (B, 1, width)
        x = add_behind_prefix(state, embedded)  # (B, T, width)
        state = upper.transformer(x, cache.stacks[1])  # (B, T, width)
        drawn[second] = draw(second, upper.head(state[:, -1]))
        return Pairs(drawn["code"].unsqueeze(1), drawn["position"].unsqueeze(1), self.side)  # (B, 1)

    def layers(self, part: Part) -> PartLayers:
        """The layers of the codes, or those of the positions."""
        codes = PartLayers(self.code_embedding, self.code_transformer, self.code_head)
        positions = PartLayers(self.position_embedding, self.position_transformer, self.position_head)
        return by_part(part, code=codes, position=positions)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        """As in `PairModel`: the lower transformer, then the upper one."""
        return tuple(self.layers(part).transformer for part in self.predicts)

    def embed(self, pairs: Pairs) -> Float[Tensor, "B N width"]:
        """As in `PairModel`: the embeddings of code and position, added (section 3.2)."""
        return self.code_embedding(pairs.codes) + self.position_embedding(pairs.positions)  # (B, N, width)

    def embed_start(
        self, n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """As in `PairModel`: the start pair (sos, L) or (class, L), a caption's tokens before it."""
        sos = self.code_embedding.weight[self.codebook_size]  # (width,)
        start = self.start(sos, n_images, conditions)  # (B, n_prefix + 1, width)
        of_position_L = self.position_embedding.weight[self.side**2].view(1, -1)  # (width,) -> (1, width)
        return add_behind_prefix(start, of_position_L)

    def _readable(self, pairs: Pairs) -> Pairs:
        """`pairs` with the start's code at padding, whose own code, -1, no table has.

        What is read there changes nothing: only places after it attend to it, and these are padding, too.
        """
        codes = pairs.codes.masked_fill(pairs.is_padding, self.codebook_size)
        return Pairs(codes, pairs.positions, pairs.side)
