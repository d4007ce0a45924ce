"""What Stackformer, raster order and masked parallel have in common: one interface to train and to sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import PairOrder, SamplingConfig
from mvqlab.models.key_value_cache import KeyValueCache
from mvqlab.models.pairs import Pairs, Part, by_part
from mvqlab.models.start import Start
from mvqlab.models.transformer import CausalTransformer

# a part and its logits to the choices
Draw = Callable[[Part, Float[Tensor, "B n"]], Int[Tensor, " B"]]
IGNORED = -100  # a target that no loss is computed for


class PairLogits(NamedTuple):
    """What a model says about every pair of a sequence, given those before it.

    code_logits (B, N, K + start codes). position_logits (B, N, L + 1), or None where positions are
    given, as in raster order.
    """

    code_logits: Float[Tensor, "B N codes"]
    position_logits: Float[Tensor, "B N places"] | None

    def of(self, part: Part) -> Float[Tensor, "B N n"] | None:
        """Those of the codes, or of the positions."""
        return by_part(part, code=self.code_logits, position=self.position_logits)


class PairLoss(NamedTuple):
    """Cross-entropies, each (), in nats a pair: of codes, of positions (None if given), and the total.

    Where sequences have an end, what it costs is counted with the part that says it.
    """

    codes: Float[Tensor, ""]
    positions: Float[Tensor, ""] | None
    total: Float[Tensor, ""]


class PairNats(NamedTuple):
    """What each pair costs, in nats: (B, N) of codes, and of positions, 0 where these are given.

    Where sequences have an end, there is a place more for it, and it is with the part that says it.
    """

    codes: Float[Tensor, "B N"]
    positions: Float[Tensor, "B N"]


class NoOrderError(ValueError):
    """Something was asked for that only a model has which draws one pair after the other."""


class PairCache(NamedTuple):
    """What sampling keeps between pairs: what sequences start with, and the keys and values of each stack.

    start (B, n_prefix + 1, width): embedded, and still to be read where n_read is 0.
    """

    start: Float[Tensor, "B T width"]
    stacks: tuple[KeyValueCache, ...]

    @property
    def n_read(self) -> int | Int[Tensor, 1]:
        """Places of the sequence that have been read; a tensor (1,) where a GPU counts them."""
        return self.stacks[0].n_read

    def rewind(self, n_read: int | Int[Tensor, 1]) -> None:
        """Forget what was read after the first `n_read` places: others are read in its place."""
        for stack in self.stacks:
            stack.n_read = n_read


class PairModel(nn.Module):
    """A stage-2 model over `Pairs`.

    start: what stands before the pairs (see `models.start`); it says what `conditions` are.
    predicts: what of a pair is predicted, in this order. side, n_pairs: of the grid and the sequences.
    codebook_size: K; logits may be wider by tokens that only start a sequence.
    order: the order of the pairs that it is trained on; `random`: any, see `order_nats`.
    has_end: whether images have more and fewer pairs. Then the part that is predicted first may be the start
        pair's, K or L, once more: the end token. `n_pairs` are the most that one can have.
    place_embedding: a vector (width) for each place in a sequence of pairs.
    """

    start: Start
    place_embedding: Tensor
    predicts: tuple[Part, ...]
    side: int
    n_pairs: int
    codebook_size: int
    order: PairOrder = "raster"
    has_end: bool = False
    in_blocks: bool = False  # whether pairs stand for blocks of 2 x 2 regions: `models.dual_grain`
    position_weight: float = 1.0

    def forward(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairLogits:
        """Logits of all pairs in one go, each given the true ones before it (teacher forcing).

        pairs (B, N). conditions: classes (B,) or the tokens of captions (B, T), if the model takes them.
        """
        raise NotImplementedError

    def next_pair(self, cache: PairCache, previous: Pairs | None, draw: Draw) -> Pairs:
        """Read the `previous` pair (B, 1), then draw the next (B, 1), part by part, from logits (B, n).

        Where `previous` is None, what sequences start with is read. An image that has ended has code K at
        place L, as the start pair.
        """
        raise NotImplementedError

    def embed(self, pairs: Pairs) -> Float[Tensor, "B N width"]:
        """What is read of pairs (B, N), but for their places in the sequence: (B, N, width)."""
        raise NotImplementedError

    def embed_start(
        self, n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """What sequences start with, (B, n_prefix + 1, width), but for the start pair's place."""
        raise NotImplementedError

    def stacks(self) -> tuple[CausalTransformer, ...]:
        """The transformers that read a pair, in their order."""
        raise NotImplementedError

    def read_all(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None) -> Float[Tensor, "B T width"]:
        """What is read of whole sequences (B, n_prefix + N, width): the start, then all pairs but the last.

        So at the n-th place stands the pair before the n-th, and every place is told which it is.
        """
        n_images = pairs.codes.shape[0]  # an exporter would take `len` for a constant
        start = self.embed_start(n_images, conditions)  # (B, n_prefix + 1, width)
        x = torch.cat([start, self.embed(pairs[:, :-1])], dim=1)  # (B, n_prefix + N, width)
        return add_behind_prefix(x, self.place_embedding[: pairs.n_pairs])  # + (N, width)

    def read_newest(self, cache: PairCache, previous: Pairs | None) -> Float[Tensor, "B T width"]:
        """What is read for the next pair alone: (B, 1, width), at first (B, n_prefix + 1, width)."""
        x = cache.start if previous is None else self.embed(previous)
        place = cache.n_read + x.shape[1] - 1 - self.start.n_prefix  # in the sequence, from 0
        return add_behind_prefix(x, self.place_embedding[place].view(1, -1))  # + (1, width)

    def begin(
        self,
        n_images: int,
        conditions: Int[Tensor, "B ..."] | None = None,
        kind: type[KeyValueCache] = KeyValueCache,
    ) -> PairCache:
        """What `next_pair` needs to draw `n_images` sequences, with caches of this `kind`."""
        start = self.embed_start(n_images, conditions)
        mask, length = self.padding_mask(conditions, self.n_pairs), self.start.n_prefix + self.n_pairs
        return PairCache(
            start, tuple(stack.empty_cache(n_images, length, mask, kind) for stack in self.stacks())
        )

    def padding_mask(
        self, conditions: Int[Tensor, "B ..."] | None, n_pairs: int
    ) -> Bool[Tensor, "B T"] | None:
        """(B, n_prefix + n_pairs): True where a place of a sequence is real, False at a caption's padding.

        (1, n_prefix + n_pairs) for models of captions that are given none. None: all are real. Padding after
        an image's last pair needs no mask: nothing real comes after it.
        """
        of_prefix = self.start.padding_mask(conditions)  # (B or 1, n_prefix)
        if of_prefix is None:
            return None
        return torch.cat([of_prefix, of_prefix.new_ones(len(of_prefix), n_pairs)], dim=1)  # (B or 1, T)

    def end_token(self, part: Part) -> int:
        """The number after the last code, K, or after the last place, L: the start pair's, and the end's."""
        return by_part(part, code=self.codebook_size, position=self.side**2)

    def says_end(self, part: Part) -> bool:
        """Whether `part` may be the end token: what is predicted first may, where sequences have an end."""
        return self.has_end and part == self.predicts[0]

    def loss(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairLoss:
        """Mean cross-entropy of the codes plus `position_weight` times that of the positions."""
        pairs = self.with_end(pairs)
        logits, targets = self(pairs, conditions), self.targets(pairs)
        n_pairs = pairs.lengths.sum()
        codes = nats_a_pair(logits.code_logits, targets.codes, n_pairs)
        if logits.position_logits is None:
            return PairLoss(codes, None, codes)
        positions = nats_a_pair(logits.position_logits, targets.positions, n_pairs)
        positions = positions - self.order_nats(pairs).sum() / n_pairs
        return PairLoss(codes, positions, codes + self.position_weight * positions)

    def nats_of_each(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairNats:
        """What each of `pairs` (B, N) costs, given what the model tells of it: see `PairNats`.

        What comes second in a pair is told the first. Codes and positions of padding cost nothing.
        """
        pairs = self.with_end(pairs)
        logits, targets = self(pairs, conditions), self.targets(pairs)
        codes = nats_of(logits.code_logits, targets.codes)  # (B, N)
        if logits.position_logits is None:
            return PairNats(codes, torch.zeros_like(codes))
        return PairNats(codes, nats_of(logits.position_logits, targets.positions) - self.order_nats(pairs))

    def drawing_steps(self, settings: SamplingConfig) -> int:
        """How often `sample_pairs` asks the model for an image's next pairs: once a pair."""
        return self.n_pairs

    def places_read(self, settings: SamplingConfig) -> float:
        """How often each place is read to draw an image: once, as keys and values are kept."""
        return 1.0

    def order_nats(self, pairs: Pairs) -> Float[Tensor, "B N"]:
        """What each of `pairs` (B, N) tells by its place in a random order, and by nothing else, in nats.

        Of an image's N pairs any of the N - n still to come may be the n-th, from 0: log (N - n), in all
        log N!. An image is a set of pairs, whatever their order, so that -log p of one order less log N! is
        what the set costs at most, on average over orders (Jensen). 0 where the order is fixed and at
        padding.
        """
        if self.order != "random":
            return torch.zeros(pairs.positions.shape, device=pairs.positions.device)
        place = torch.arange(pairs.n_pairs, device=pairs.positions.device)  # (N,)
        n_to_come = pairs.lengths.unsqueeze(1) - place  # (B, 1) - (N,) to (B, N)
        return n_to_come.clamp(min=1).log()  # (B, N)

    def with_end(self, pairs: Pairs) -> Pairs:
        """`pairs` with a place after the longest image's last one, for its end; none where there is no end.

        An image that fills the grid has no place for an end, and needs none.
        """
        if not self.has_end or pairs.n_pairs == self.side**2:
            return pairs
        return pairs.widened(pairs.n_pairs + 1)

    def targets(self, pairs: Pairs) -> Pairs:
        """What the logits for `pairs` ought to say: the pairs, then the end token if there is one.

        Codes (B, N) and positions (B, N); IGNORED where nothing is to be said.
        """
        is_padding = pairs.is_padding
        is_end = is_padding & (is_padding.cumsum(dim=1) == 1)  # the place after the last pair
        codes, positions = (
            pairs.of(part)
            .masked_fill(is_padding, IGNORED)
            .masked_fill(is_end & self.says_end(part), self.end_token(part))
            for part in ("code", "position")
        )
        return Pairs(codes, positions, pairs.side)


def nats_of(logits: Float[Tensor, "B N n"], targets: Int[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Nats (B, N) of `targets` (B, N) under `logits` (B, N, n); 0 where there is nothing to say."""
    return F.cross_entropy(logits.mT, targets, reduction="none", ignore_index=IGNORED)


def nats_a_pair(
    logits: Float[Tensor, "B N n"], targets: Int[Tensor, "B N"], n_pairs: Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Cross-entropy () of `targets` (B, N) under `logits` (B, N, n), shared out among `n_pairs` pairs."""
    # (B, N, n) -> (B N, n), and (B, N) -> (B N,)
    mean = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    return mean * ((targets != IGNORED).sum() / n_pairs)


def add_behind_prefix(
    x: Float[Tensor, "B T width"], of_pairs: Float[Tensor, "*B n width"]
) -> Float[Tensor, "B T width"]:
    """`x` with `of_pairs`, (B, n, width) or (n, width), added to its last n places, those of start and pairs.

    What stands before them, a caption's T - n tokens, belongs to no pair and stays as it is.
    """
    n_prefix = x.shape[1] - of_pairs.shape[-2]
    if n_prefix == 0:
        return x + of_pairs
    return torch.cat([x[:, :n_prefix], x[:, n_prefix:] + of_pairs], dim=1)  # (B, T, width)
