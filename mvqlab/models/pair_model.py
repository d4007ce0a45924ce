"""What Stackformer and the raster baseline have in common: one interface to train and to sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.models.pairs import Pairs
from mvqlab.models.transformer import CausalTransformer, KeyValueCache, StaticKeyValueCache

Part = Literal["code", "position"]
Draw = Callable[[Tensor], Tensor]  # logits (B, n) to indices (B,)


class PairLogits(NamedTuple):
    """What a model says about every pair of a sequence, given those before it.

    code_logits (B, N, K + start codes). position_logits (B, N, L + 1), or None where positions are
    given, as in raster order.
    """

    code_logits: Tensor
    position_logits: Tensor | None


class PairLoss(NamedTuple):
    """Cross-entropies, each (), in nats a pair: of codes, of positions (None if given), and the total."""

    codes: Tensor
    positions: Tensor | None
    total: Tensor


class NextPair(NamedTuple):
    """A pair for every image: codes (B,) and positions (B,)."""

    codes: Tensor
    positions: Tensor


class PairCache(NamedTuple):
    """What sampling keeps between pairs: the start pair's embedding (B, width) and a cache a stack."""

    start: Tensor
    stacks: tuple[KeyValueCache, ...]


class PairModel(nn.Module):
    """A stage-2 model over `Pairs`.

    predicts: what of a pair is predicted, in this order. side, n_pairs: of the grid and the sequences.
    codebook_size: K; logits may be wider by tokens that only start a sequence.
    order: the order of the pairs that it is trained on.
    """

    predicts: tuple[Part, ...]
    side: int
    n_pairs: int
    codebook_size: int
    order: Literal["raster", "score"] = "raster"
    position_weight: float = 1.0

    def forward(self, pairs: Pairs, labels: Tensor | None = None) -> PairLogits:
        """Logits of all pairs, each given the ones before. labels (B,): classes, if the model has them."""
        raise NotImplementedError

    def begin(self, n_images: int, labels: Tensor | None = None, static: bool = False) -> PairCache:
        """Caches for drawing `n_images` sequences; `static` ones keep their shapes from pair to pair."""
        kind = StaticKeyValueCache if static else KeyValueCache
        caches = tuple(kind(stack, n_images, self.n_pairs) for stack in self.stacks())
        return PairCache(self.start_pair(n_images, labels), caches)

    def stacks(self) -> tuple[CausalTransformer, ...]:
        """The transformers that read a pair, in their order."""
        raise NotImplementedError

    def start_pair(self, n_images: int, labels: Tensor | None) -> Tensor:
        """What a sequence starts with (B, width)."""
        raise NotImplementedError

    def next_pair(self, cache: PairCache, previous: NextPair | None, draw: Mapping[Part, Draw]) -> NextPair:
        """Read the `previous` pair (None: the start pair) and draw the next, each part with its `draw`."""
        raise NotImplementedError

    def loss(self, pairs: Pairs, labels: Tensor | None = None) -> PairLoss:
        """Mean cross-entropy of the codes plus `position_weight` times that of the positions."""
        logits = self(pairs, labels)
        codes = F.cross_entropy(logits.code_logits.flatten(0, 1), pairs.codes.flatten())
        if logits.position_logits is None:
            return PairLoss(codes, None, codes)
        positions = F.cross_entropy(logits.position_logits.flatten(0, 1), pairs.positions.flatten())
        return PairLoss(codes, positions, codes + self.position_weight * positions)


class StartPair(nn.Module):
    """The embedding (B, width) that a sequence starts with: one for all, or one a class.

    Classes have a table of their own, outside the codes, so that no class can be sampled as a code.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(n_classes, width) if n_classes else None

    def forward(self, unconditional: Tensor, n_images: int, labels: Tensor | None) -> Tensor:
        """`unconditional` (width) for every image or, where there are classes, that of its label (B,)."""
        if self.classes is None:
            return unconditional.expand(n_images, -1)
        if labels is None:
            raise ValueError("this model is class-conditional: give `labels`, one class an image")
        if len(labels) != n_images:
            raise ValueError(f"{n_images} images need {n_images} labels, got {len(labels)}")
        return self.classes(labels.to(self.classes.weight.device))
