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

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mvqlab.config import TransformerConfig
from mvqlab.models.pair_model import Draw, NextPair, PairCache, PairLogits, PairModel, Part, add_from
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import Start
from mvqlab.models.transformer import CausalTransformer, Head, initialise


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

    def forward(self, pairs: Pairs, conditions: Tensor | None = None) -> PairLogits:
        # what is read at padding tells nobody anything: only what comes after it hears it
        codes = pairs.codes.masked_fill(pairs.is_padding, self.codebook_size)
        pairs = Pairs(codes, pairs.positions, pairs.side)
        before = self.begin_with(len(pairs), conditions)
        heard = self.heard(conditions, pairs.n_pairs)
        n_prefix = self.start.n_prefix
        read = torch.cat([before, self._embed(pairs[:, :-1])], dim=1)
        read = add_from(read, n_prefix, self.place_embedding[: pairs.n_pairs])
        first, second = self.predicts
        truth = {"code": pairs.codes, "position": pairs.positions}
        states = {first: self._stack(first)(self.dropout(read), heard=heard)}
        read = add_from(states[first], n_prefix, self._embedding(first)(truth[first]))
        states[second] = self._stack(second)(read, heard=heard)
        logits = {part: self._head(part)(states[part][:, n_prefix:]) for part in self.predicts}
        return PairLogits(logits["code"], logits["position"])

    def next_pair(self, cache: PairCache, previous: NextPair | None, draw: Mapping[Part, Draw]) -> NextPair:
        first, second = self.predicts
        read = cache.start if previous is None else self._embed(previous).unsqueeze(1)
        n_before = read.shape[1] - 1  # places that come before the newest pair's, in the first step only
        place = cache.stacks[0].n_read + n_before - self.start.n_prefix
        read = add_from(read, n_before, self.place_embedding[place])
        state = self._stack(first)(read, cache.stacks[0])
        drawn = {first: draw[first](self._head(first)(state[:, -1]))}
        state = add_from(state, n_before, self._embedding(first)(drawn[first]).unsqueeze(1))
        state = self._stack(second)(state, cache.stacks[1])
        drawn[second] = draw[second](self._head(second)(state[:, -1]))
        return NextPair(drawn["code"], drawn["position"])

    def stacks(self) -> tuple[CausalTransformer, ...]:
        return tuple(self._stack(part) for part in self.predicts)

    def begin_with(self, n_images: int, conditions: Tensor | None) -> Tensor:
        start_code = self.code_embedding.weight[self.codebook_size]
        before = self.start(start_code, n_images, conditions)
        return add_from(before, self.start.n_prefix, self.position_embedding.weight[self.side**2])

    def _embed(self, pairs: Pairs | NextPair) -> Tensor:
        return self.code_embedding(pairs.codes) + self.position_embedding(pairs.positions)

    def _stack(self, part: Part) -> CausalTransformer:
        return self.code_transformer if part == "code" else self.position_transformer

    def _embedding(self, part: Part) -> nn.Embedding:
        return self.code_embedding if part == "code" else self.position_embedding

    def _head(self, part: Part) -> Head:
        return self.code_head if part == "code" else self.position_head
