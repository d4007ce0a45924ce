"""What Stackformer and the raster baseline have in common: one interface to train and to sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.models.pairs import Pairs
from mvqlab.models.start import Start
from mvqlab.models.transformer import CausalTransformer, KeyValueCache, StaticKeyValueCache

Part = Literal["code", "position"]
Draw = Callable[[Tensor], Tensor]  # logits (B, n) to indices (B,)
IGNORED = -100  # a target that no loss is computed for


class PairLogits(NamedTuple):
    """What a model says about every pair of a sequence, given those before it.

    code_logits (B, N, K + start codes). position_logits (B, N, L + 1), or None where positions are
    given, as in raster order.
    """

    code_logits: Tensor
    position_logits: Tensor | None


class PairLoss(NamedTuple):
    """Cross-entropies, each (), in nats a pair: of codes, of positions (None if given), and the total.

    Where sequences have an end, what it costs is counted with the part that says it.
    """

    codes: Tensor
    positions: Tensor | None
    total: Tensor


class Targets(NamedTuple):
    """What is to be predicted, codes (B, N) and positions (B, N); IGNORED where nothing is."""

    codes: Tensor
    positions: Tensor


class NextPair(NamedTuple):
    """A pair for every image: codes (B,) and positions (B,)."""

    codes: Tensor
    positions: Tensor


class PairCache(NamedTuple):
    """What sampling keeps between pairs: what sequences start with (B, T, width) and a cache a stack."""

    start: Tensor
    stacks: tuple[KeyValueCache, ...]


class PairModel(nn.Module):
    """A stage-2 model over `Pairs`.

    start: what stands before the pairs (see `models.start`); it says what `conditions` are.
    predicts: what of a pair is predicted, in this order. side, n_pairs: of the grid and the sequences.
    codebook_size: K; logits may be wider by tokens that only start a sequence.
    order: the order of the pairs that it is trained on.
    has_end: whether images have more and fewer pairs. Then the part that is predicted first may be the start
        pair's, K or L, once more: it ends the sequence. `n_pairs` are the most that one can have.
    """

    start: Start
    predicts: tuple[Part, ...]
    side: int
    n_pairs: int
    codebook_size: int
    order: Literal["raster", "score"] = "raster"
    has_end: bool = False
    position_weight: float = 1.0

    def forward(self, pairs: Pairs, conditions: Tensor | None = None) -> PairLogits:
        """Logits of all pairs, each given the ones before.

        conditions: classes (B,) or the tokens of captions (B, T), if the model takes them.
        """
        raise NotImplementedError

    def begin(self, n_images: int, conditions: Tensor | None = None, static: bool = False) -> PairCache:
        """Caches for drawing `n_images` sequences; `static` ones keep their shapes from pair to pair."""
        before = self.begin_with(n_images, conditions)
        kind = StaticKeyValueCache if static else KeyValueCache
        heard = self.heard(conditions, self.n_pairs)
        length = self.start.n_prefix + self.n_pairs
        caches = tuple(kind(stack, n_images, length, heard) for stack in self.stacks())
        return PairCache(before, caches)

    def heard(self, conditions: Tensor | None, n_pairs: int) -> Tensor | None:
        """Which places (B, n_prefix + n_pairs) of sequences may be heard; None: all."""
        prefix = self.start.heard(conditions)
        if prefix is None:
            return None
        return torch.cat([prefix, prefix.new_ones(len(prefix), n_pairs)], dim=1)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        """The transformers that read a pair, in their order."""
        raise NotImplementedError

    def begin_with(self, n_images: int, conditions: Tensor | None) -> Tensor:
        """What sequences start with (B, n_prefix + 1, width)."""
        raise NotImplementedError

    def next_pair(self, cache: PairCache, previous: NextPair | None, draw: Mapping[Part, Draw]) -> NextPair:
        """Read the `previous` pair, then draw the next, each part with its `draw`.

        Where `previous` is None, what sequences start with is read.
        """
        raise NotImplementedError

    def loss(self, pairs: Pairs, conditions: Tensor | None = None) -> PairLoss:
        """Mean cross-entropy of the codes plus `position_weight` times that of the positions."""
        pairs = self.with_end(pairs)
        logits, targets = self(pairs, conditions), self.targets(pairs)
        n_pairs = pairs.lengths.sum()
        codes = nats_a_pair(logits.code_logits, targets.codes, n_pairs)
        if logits.position_logits is None:
            return PairLoss(codes, None, codes)
        positions = nats_a_pair(logits.position_logits, targets.positions, n_pairs)
        return PairLoss(codes, positions, codes + self.position_weight * positions)

    def with_end(self, pairs: Pairs) -> Pairs:
        """`pairs` with a place after the longest image's last one, for its end; none where there is no end.

        An image that fills the grid has no place for an end, and needs none.
        """
        if not self.has_end or pairs.n_pairs == self.side**2:
            return pairs
        return pairs.widened(pairs.n_pairs + 1)

    def targets(self, pairs: Pairs) -> Targets:
        """What the logits for `pairs` ought to say: the pairs, then the end if there is one, then nothing."""
        is_padding = pairs.is_padding
        codes = pairs.codes.masked_fill(is_padding, IGNORED)
        positions = pairs.positions.masked_fill(is_padding, IGNORED)
        if self.has_end:
            is_end = is_padding & (is_padding.cumsum(dim=1) == 1)
            if self.predicts[0] == "code":
                codes = codes.masked_fill(is_end, self.codebook_size)
            else:
                positions = positions.masked_fill(is_end, self.side**2)
        return Targets(codes, positions)


def nats_a_pair(logits: Tensor, targets: Tensor, n_pairs: Tensor) -> Tensor:
    """Cross-entropy () of `targets` (B, N) under `logits` (B, N, n), shared out among `n_pairs` pairs."""
    mean = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    return mean * ((targets != IGNORED).sum() / n_pairs)


def add_from(read: Tensor, first: int, what: Tensor) -> Tensor:
    """`read` (B, T, width) with `what` (B or 1, T - first, width) added from place `first` on."""
    if first == 0:
        return read + what
    return torch.cat([read[:, :first], read[:, first:] + what], dim=1)
