"""Sampling, pair by pair, with all that each draw was made from kept: to be drawn, or played step by step.

    trace = trace_sampling(stackformer, 4, generator=torch.Generator().manual_seed(0))
    trace.position_probabilities[0, 9]       # where pair 10 of the first image might have gone (L)
    images = grow(mqvae, trace.pairs, [1, 8, 32])    # what the image looked like on the way

The pairs are those that `sample_pairs` draws: it is `sample_pairs` that draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, Part
from mvqlab.sampling.draw_pairs import UNFILTERED, sample_pairs
from mvqlab.sampling.filters import at_temperature, top_k, top_p


class TopCodes(NamedTuple):
    """The likeliest codes of every draw, likeliest first: codes (B, N, n) and their probabilities."""

    codes: Int[Tensor, "B N n"]
    probabilities: Float[Tensor, "B N n"]


@dataclass(frozen=True)
class SamplingTrace:
    """How B sequences of N pairs were drawn, on the model's device. Pair n is row n, from 0.

    pairs: what was drawn.
    code_probabilities (B, N, K): what each code was drawn from, after temperature, top-k and top-p.
    position_probabilities (B, N, L): the same for its position; a single 1 where positions are given.
    is_allowed (B, N, L) bool: where the pair might have gone at all; see `allowed_positions`.

    Where sequences have an end, what says it (codes, or positions if these come first) has it as a last
    column; there is a row more if an end came after the longest image; and rows after an image's end mean
    nothing.
    """

    pairs: Pairs
    code_probabilities: Float[Tensor, "B draws codes"]
    position_probabilities: Float[Tensor, "B draws places"]
    is_allowed: Bool[Tensor, "B draws places"]

    def top_codes(self, n: int = 5) -> TopCodes:
        """The `n` likeliest codes of every draw; codes that a filter ruled out have probability 0."""
        best = self.code_probabilities.topk(n, dim=-1)
        return TopCodes(best.indices, best.values)

    def is_taken(self, n: int) -> Bool[Tensor, "B L"]:
        """(B, L) bool: the places of the first `n` pairs."""
        return self.pairs[:, :n].is_kept


def trace_sampling(
    model: PairModel,
    n_images: int,
    settings: SamplingConfig | None = None,
    *,
    generator: torch.Generator,
    conditions: Int[Tensor, "B ..."] | None = None,
) -> SamplingTrace:
    """Draw `n_images` sequences as `sample_pairs` does, and keep what each draw was made from.

    Arguments and errors are those of `sample_pairs`; for the same generator state the pairs are the same.
    """
    settings = settings or UNFILTERED
    seen: dict[Part, list[Tensor]] = {"code": [], "position": []}
    pairs = sample_pairs(
        model,
        n_images,
        settings,
        generator=generator,
        conditions=conditions,
        on_logits=lambda part, logits: seen[part].append(logits),
    )
    codes = torch.stack(seen["code"], dim=1)  # (B, N, K)
    code_law = drawing_law(codes, settings.temperature, settings.code_top_k, settings.code_top_p)
    if not seen["position"]:  # a raster model: each place in its turn
        given = F.one_hot(pairs.positions, model.side**2)
        return SamplingTrace(pairs, code_law, given.to(code_law.dtype), given.bool())
    places = torch.stack(seen["position"], dim=1)  # (B, N, L)
    place_law = drawing_law(places, settings.temperature, settings.position_top_k, settings.position_top_p)
    return SamplingTrace(pairs, code_law, place_law, places.isfinite())


def drawing_law(logits: Float[Tensor, "*B n"], temperature: float, k: int, p: float) -> Float[Tensor, "*B n"]:
    """What `mvqlab.sampling.choose` draws from: logits (..., n) to probabilities (..., n)."""
    if temperature == 0.0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    left = top_p(top_k(at_temperature(logits, temperature), k), p)
    law = torch.zeros_like(logits, dtype=left.logits.dtype)
    return law.scatter(-1, left.indices, left.logits.softmax(-1))  # (..., k) into (..., n)


@torch.no_grad()
def grow(stage1: TokenModel, pairs: Pairs, counts: Sequence[int]) -> Float[Tensor, "counts B 3 H W"]:
    """Images (len(counts), B, 3, H, W) decoded from the first 1 <= n <= N pairs alone, for n in `counts`.

    A masked model infers what is not there yet, as it does for every dropped region; it was trained on N
    pairs, so few of them ask more of it than training did. Raises ValueError for the plain model, which
    can do nothing without a code at every place, and for a count that is out of range.
    """
    if not isinstance(stage1, MQVAE):
        raise ValueError("only a masked model decodes a part of the pairs: PlainVQ needs a code everywhere")
    wrong = [n for n in counts if not 1 <= n <= pairs.n_pairs]
    if wrong:
        raise ValueError(f"there are {pairs.n_pairs} pairs an image: cannot decode the first {wrong}")
    return torch.stack([stage1.decode(pairs[:, :n]) for n in counts])  # (B, 3, H, W) each
