"""Bits of codes and places against counting by hand."""

from __future__ import annotations

import math
from itertools import combinations

import pandas as pd
import pytest

from mvqlab.evaluation.images.rate import code_bits, position_bits, with_rates


@pytest.mark.parametrize("n_pairs", [0, 1, 3, 7])
def test_position_bits_count_the_subsets(n_pairs: int) -> None:
    subsets = len(list(combinations(range(7), n_pairs)))
    assert position_bits(7, n_pairs) == pytest.approx(math.log2(subsets))


def test_places_cost_most_at_a_half_and_less_than_a_bit_each() -> None:
    bits = [position_bits(64, n) for n in range(65)]
    assert max(bits) == bits[32] < 64.0
    assert bits == pytest.approx(bits[::-1])


def test_code_bits_are_the_entropy_of_even_codes() -> None:
    assert code_bits(32, 512.0) == 32 * 9
    assert code_bits(5, 1.0) == 0.0


def test_what_cannot_be_is_refused() -> None:
    for n_pairs in (-1, 5):
        with pytest.raises(ValueError, match="of 4 places"):
            position_bits(4, n_pairs)
    with pytest.raises(ValueError, match="perplexity"):
        code_bits(3, 0.5)


def test_rates_of_a_table() -> None:
    table = pd.DataFrame(
        {"n_pairs": [4.0, 2.0], "codebook_perplexity": [8.0, 4.0], "position_loss": [0.0, math.log(2.0)]}
    )
    rated = with_rates(table, 4)
    assert rated["code_bits"].tolist() == pytest.approx([12.0, 4.0])
    assert rated["position_bits"].tolist() == pytest.approx([0.0, math.log2(6)])
    assert rated["rate_bits"].tolist() == pytest.approx([12.0, 4.0 + math.log2(6)])
    assert rated["stage2_position_bits"].tolist() == pytest.approx([0.0, 2.0])
    assert "rate_bits" not in table
