"""What an image costs in bits as a set of pairs: which codes, and where they belong.

    R = N log2 P + log2 C(L, N)

A code costs the entropy of the codes' frequencies, which is log2 of their perplexity P. The second term is
the choice of N places among L, every choice taken as equally likely. Nothing is learned from context, so a
trained transformer pays less where there is something to learn: its price is `bits_per_image`.
"""

from __future__ import annotations

import math

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from mvqlab.models.mqvae import TokenModel


def position_bits(n_positions: int, n_pairs: int) -> float:
    """log2 C(L, N): bits that say which `n_pairs` of `n_positions` places are kept, all choices alike.

    Raises ValueError unless 0 <= n_pairs <= n_positions.
    """
    if not 0 <= n_pairs <= n_positions:
        raise ValueError(f"cannot keep {n_pairs} of {n_positions} places")
    return math.log2(math.comb(n_positions, n_pairs))


def block_bits(n_positions: int, n_pairs: int) -> float:
    """log2 C(L/4, F): bits that say which blocks are fine, where N = L/4 + 3 F (`mask.kind=dual_grain`).

    Raises ValueError where no F makes N = `n_pairs` of L = `n_positions`.
    """
    n_blocks = n_positions // 4
    n_fine, over = divmod(n_pairs - n_blocks, 3)
    if n_positions % 4 or over:
        raise ValueError(f"blocks of one pair or four make no {n_pairs} pairs of {n_positions} places")
    return position_bits(n_blocks, n_fine)


def place_bits(mask_kind: str, n_positions: int, n_pairs: int) -> float:
    """Bits that say where N pairs are, of L = `n_positions` places: `position_bits`, or of blocks."""
    count = block_bits if mask_kind == "dual_grain" else position_bits
    return count(n_positions, n_pairs)


def code_bits(n_pairs: int, perplexity: float) -> float:
    """N log2 P: bits of `n_pairs` codes, each drawn by itself from codes of the given perplexity.

    Raises ValueError for a perplexity under 1, which no frequencies have.
    """
    if perplexity < 1.0:
        raise ValueError(f"a perplexity is at least 1, not {perplexity}")
    return n_pairs * math.log2(perplexity)


def fixed_length_bits(model: TokenModel, lengths: Int[Tensor, " n"]) -> float:
    """Bits of an image where every code costs log2 K, and every choice of places as much as any other.

    lengths (n,): pairs of some images, over which the mean is taken. Where each image has a budget of its
    own, log2 L bits more say how many it has. Nothing is learned, so this is what ways to spend codes are
    made equal by.
    """
    kind, n_places = model.config.mask.kind, model.n_positions
    bits = [n * math.log2(model.codebook_size) + place_bits(kind, n_places, n) for n in lengths.tolist()]
    return sum(bits) / len(bits) + (math.log2(n_places) if model.has_budgets else 0.0)


def with_rates(table: pd.DataFrame, n_positions: int) -> pd.DataFrame:
    """`table`, a row a trained model, with its rates in bits an image as further columns.

    It needs the columns n_pairs, codebook_perplexity and position_loss (nats a pair), and reads of `mask`,
    where it is there, whose places are blocks (`block_bits`). Added are code_bits,
    position_bits and rate_bits, their sum, all without a transformer, and stage2_position_bits: what the
    transformer pays for the positions, to be held against position_bits. Raises ValueError for models whose
    images have a budget each.
    """
    if (table["n_pairs"] % 1).any():
        raise ValueError(
            "n_pairs is not whole: images have different numbers of pairs, whose mean does not say what "
            "places cost"
        )
    pairs = table["n_pairs"].astype(int)
    of_codes = [code_bits(*row) for row in zip(pairs, table["codebook_perplexity"], strict=True)]
    kinds = table["mask"] if "mask" in table else [""] * len(table)
    of_positions = [place_bits(kind, n_positions, n) for kind, n in zip(kinds, pairs, strict=True)]
    rated = table.assign(code_bits=of_codes, position_bits=of_positions)
    return rated.assign(
        rate_bits=rated["code_bits"] + rated["position_bits"],
        stage2_position_bits=pairs * table["position_loss"] / math.log(2.0),
    )
