"""The models as graphs of plain tensors, to be run where there is no PyTorch.

    stage 1   image (1, 3, H, W)          --encode-->    scores (1, L), features (1, L, n_z), codes (1, L)
              codes (1, L), is_kept (1, L) --restore-->  image (1, 3, H, W), not clipped
    stage 2   the n pairs so far           --first part of a pair-->   logits (B, K + 1), states (B, T, width)
              states, the first part       --its second part-->        logits (B, L + 1)

What an image keeps is no part of a graph: a region's features and code do not depend on which others are
kept, so `encode` gives those of all L regions, and whoever holds the scores chooses. So shapes stay the same
whatever the mask ratio is. Nor are temperature, filters and guidance: they come after the logits.

Symbols: B images; L regions of a grid, row by row; n_z of a code; K codes; n pairs so far, from 0; T = n + 1
places of a sequence and those of a caption before them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.models.mask_context import MaskContext
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, by_part
from mvqlab.models.raster import RasterTransformer
from mvqlab.models.scorers import RandomScorer, TruthScorer
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.start import CaptionStart, ClassStart

N_EXAMPLE = 5  # pairs that a graph is traced with; another number than any size of a model
GRAPHS = ("encode", "restore", "code", "position")  # the names of all that there are


class Graph(NamedTuple):
    """A module of plain tensors: examples of its inputs, by name, and its outputs' names in their order.

    lengths: the axes of inputs and outputs that may be of any length, and what they are called on a card.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    lengths: dict[str, dict[int, str]]


def graphs_of(model: TokenModel | PairModel) -> dict[str, Graph]:
    """The graphs of a model of either stage, by name."""
    return graphs_of_stage1(model) if isinstance(model, TokenModel) else graphs_of_stage2(model)


# ------------------------------------------------------------------------------------------------- stage 1


def graphs_of_stage1(model: TokenModel) -> dict[str, Graph]:
    """`encode` and `restore` of an MQ-VAE or a plain VQ model; the plain one has no scores and no mask."""
    resolution, n_positions = model.config.data.resolution, model.n_positions
    image = torch.zeros(1, 3, resolution, resolution)
    codes = torch.zeros(1, n_positions, dtype=torch.int32)
    if not isinstance(model, MQVAE):
        return {
            "encode": Graph(EncodeAll(model), {"image": image}, ["features", "codes"], {}),
            "restore": Graph(RestoreAll(model), {"codes": codes}, ["image"], {}),
        }
    scores = ["scores"] if scores_come_from_the_image(model) else []
    is_kept = torch.ones(1, n_positions, dtype=torch.bool)
    return {
        "encode": Graph(Encode(model), {"image": image}, [*scores, "features", "codes"], {}),
        "restore": Graph(Restore(model), {"codes": codes, "is_kept": is_kept}, ["image"], {}),
    }


def scores_come_from_the_image(model: MQVAE) -> bool:
    """Whether the image says what is kept of it, and neither chance nor the true objects do."""
    return not isinstance(model.mask.scorer, RandomScorer | TruthScorer)


class Encode(nn.Module):
    """An image to the scores, the features that the quantiser would see, and the codes of all its regions."""

    def __init__(self, model: MQVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "1 3 H W"]) -> tuple[Tensor, ...]:
        """(1, 3, H, W) in [-1, 1] to scores (1, L), features (1, L, n_z) and codes (1, L) int32.

        Where chance or the true objects choose, there are no scores.
        """
        model = self.model
        features = model.encoder(image)  # (1, d, h, w)
        places = torch.arange(model.n_positions).expand(1, -1)  # (1, L)
        has_scores = scores_come_from_the_image(model)
        scores = torch.zeros(1, model.n_positions)
        if has_scores:
            scores = model.mask.scorer(features, MaskContext(images=image))  # (1, L)
        regions = model.mask.keep(features, scores, places).features  # (1, L, n_z)
        codes = model.quantizer.nearest(regions).int()  # (1, L)
        return (scores, regions, codes) if has_scores else (regions, codes)


class Restore(nn.Module):
    """Codes and a choice of regions to an image."""

    def __init__(self, model: MQVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Int[Tensor, "1 L"], is_kept: Bool[Tensor, "1 L"]) -> Float[Tensor, "1 3 H W"]:
        """`codes` (1, L), of which those where `is_kept` (1, L) are read, to (1, 3, H, W), not clipped."""
        n_positions = codes.shape[1]
        # a region that is dropped is what padding is: at place L
        positions = torch.arange(n_positions).expand(1, -1).where(is_kept, n_positions)  # (1, L)
        return self.model.restore(self.model.quantizer.look_up(codes.long()), positions)


class EncodeAll(nn.Module):
    """An image to features and codes of all regions, by the plain model."""

    def __init__(self, model: TokenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "1 3 H W"]) -> tuple[Tensor, ...]:
        """(1, 3, H, W) in [-1, 1] to features (1, L, n_z) and codes (1, L) int32."""
        regions = self.model.select(image).features  # (1, L, n_z)
        return regions, self.model.quantizer.nearest(regions).int()


class RestoreAll(nn.Module):
    """A code of every region to an image, by the plain model."""

    def __init__(self, model: TokenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Int[Tensor, "1 L"]) -> Float[Tensor, "1 3 H W"]:
        """`codes` (1, L) to (1, 3, H, W), not clipped."""
        places = torch.arange(codes.shape[1]).expand(1, -1)  # (1, L)
        return self.model.restore(self.model.quantizer.look_up(codes.long()), places)


# ------------------------------------------------------------------------------------------------- stage 2


def graphs_of_stage2(model: PairModel) -> dict[str, Graph]:
    """A graph for each part of a pair that is predicted, in this order, named `code` and `position`."""
    first, *more = model.predicts
    pairs = {part: torch.zeros(2, N_EXAMPLE, dtype=torch.int32) for part in ("codes", "positions")}
    if not more:
        del pairs["positions"]  # in raster order a place in the sequence says it
    conditions = _example_conditions(model)
    lengths = {name: {0: "B", 1: "n"} for name in pairs} | {name: {0: "B"} for name in conditions}
    lengths |= {"logits": {0: "B"}, "states": {0: "B", 1: "T"}}
    outputs = ["logits", "states"] if more else ["logits"]
    graphs: dict[str, Graph] = {first: Graph(FirstPart(model), pairs | conditions, outputs, lengths)}
    if isinstance(model, Stackformer):
        width = model.place_embedding.shape[1]
        drawn = by_part(first, code="codes", position="positions")
        inputs = {
            "states": torch.zeros(2, model.start.n_prefix + N_EXAMPLE, width),
            drawn: torch.zeros(2, N_EXAMPLE, dtype=torch.int32),
        }
        lengths = lengths | {drawn: {0: "B", 1: "n + 1"}}
        if isinstance(model.start, CaptionStart):  # whose padding nobody attends to
            inputs |= conditions
        graphs[more[0]] = Graph(SecondPart(model), inputs, ["logits"], lengths)
    return graphs


def _example_conditions(model: PairModel) -> dict[str, Tensor]:
    """What a model is told, as an input of two rows; none where it is told nothing."""
    if isinstance(model.start, ClassStart):
        return {"conditions": torch.zeros(2, dtype=torch.int32)}
    if isinstance(model.start, CaptionStart):
        return {"conditions": model.start.null(2).int()}
    return {}


class FirstPart(nn.Module):
    """The pairs so far to the logits of what comes first in the next pair."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        codes: Int[Tensor, "B n"],
        positions: Int[Tensor, "B n"] | None = None,
        conditions: Int[Tensor, "B ..."] | None = None,
    ) -> tuple[Tensor, ...]:
        """`codes` (B, n), `positions` (B, n) but in raster order, `conditions` (B, ...) where there are any.

        To logits (B, K + 1 or L + 1) and, if a second part follows, the lower stack's states (B, T, width).
        """
        model = self.model
        conditions = None if conditions is None else conditions.long()
        codes = _and_one_to_come(codes)
        pairs = Pairs(codes, codes if positions is None else _and_one_to_come(positions), model.side)
        x = model.read_all(pairs, conditions)  # (B, T, width)
        states = model.stacks()[0](x, padding_mask=model.padding_mask(conditions, pairs.n_pairs))
        if isinstance(model, Stackformer):
            return model.layers(model.predicts[0]).head(states[:, -1]), states  # (B, width) -> (B, choices)
        assert isinstance(model, RasterTransformer)
        return (model.code_head(states[:, -1]),)  # (B, width) -> (B, K + 1)


def _and_one_to_come(part: Int[Tensor, "B n"]) -> Int[Tensor, "B n_and_one"]:
    """`part` (B, n) of the pairs so far, with a place for the next, (B, n + 1), which is not read."""
    return torch.cat([part, part.new_zeros(len(part), 1)], dim=1).long()


class SecondPart(nn.Module):
    """The lower stack's states and the first parts, the newest included, to the logits of the second part."""

    def __init__(self, model: Stackformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        states: Float[Tensor, "B T width"],
        codes: Int[Tensor, "B n"] | None = None,
        positions: Int[Tensor, "B n"] | None = None,
        conditions: Int[Tensor, "B ..."] | None = None,
    ) -> Float[Tensor, "B choices"]:
        """`states` (B, T, width) and the `codes` (B, n + 1), position-first `positions`, to logits.

        These are (B, L + 1), position-first (B, K + 1). conditions: captions alone, whose padding nobody
        attends to.
        """
        model = self.model
        lower, upper = (model.layers(part) for part in model.predicts)
        firsts = codes if positions is None else positions
        assert firsts is not None
        n_prefix = model.start.n_prefix
        embedded = lower.embedding(firsts.long())  # (B, n + 1, width)
        x = torch.cat([states[:, :n_prefix], states[:, n_prefix:] + embedded], dim=1)  # (B, T, width)
        padding_mask = model.padding_mask(conditions, firsts.shape[1])
        return upper.head(
            upper.transformer(x, padding_mask=padding_mask)[:, -1]
        )  # (B, width) -> (B, choices)
