"""Codebook figures against values worked out by hand and slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvqlab.evaluation.codebook.usage import (
    code_counts,
    codebook_redundancy,
    codebook_usage,
    effective_rank,
    perplexity_of_few,
)


def test_usage_of_a_known_sequence() -> None:
    codes = torch.tensor([[0, 0, 3], [0, 0, 3]])  # shares 2/3 and 1/3 of a codebook of 5
    usage = codebook_usage(codes, 5)
    assert usage.used_share == pytest.approx(2 / 5)
    assert usage.perplexity == pytest.approx(math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)))
    assert usage.n_features == 6


@given(st.integers(1, 13), st.integers(1, 7))
def test_perplexity_of_even_use_is_the_number_of_codes(n_used: int, times: int) -> None:
    usage = codebook_usage(torch.arange(n_used).repeat(times), 13)
    assert usage.perplexity == pytest.approx(n_used)
    assert usage.used_share == pytest.approx(n_used / 13)


def test_usage_without_codes_is_refused() -> None:
    with pytest.raises(ValueError, match="no codes"):
        codebook_usage(torch.empty(0, 3, dtype=torch.long), 5)


def test_counts_cover_the_whole_codebook() -> None:
    """A count vector as short as the largest code seen would not fit the codebook."""
    assert code_counts(torch.tensor([[1, 1], [0, 1]]), 4).tolist() == [1, 3, 0, 0]


def test_effective_rank_counts_independent_directions() -> None:
    """+-1 on each of three axes: three equal singular values, though codes live in five dimensions."""
    axes = torch.eye(5)[:3]
    redundancy = codebook_redundancy(torch.cat([axes, -axes]))
    assert redundancy.effective_rank == pytest.approx(3.0)
    assert redundancy.n_codes == 6


def test_effective_rank_ignores_where_the_cloud_lies() -> None:
    """Without centring, a codebook far from the origin looks like one direction."""
    axes = torch.cat([torch.eye(5)[:3], -torch.eye(5)[:3]])
    assert codebook_redundancy(axes + 100.0).effective_rank == pytest.approx(3.0)


def test_effective_rank_agrees_with_numpy() -> None:
    codes = torch.randn(11, 7, generator=torch.Generator().manual_seed(0))
    spectrum = np.linalg.svd(codes.numpy() - codes.numpy().mean(0), compute_uv=False)
    shares = spectrum / spectrum.sum()
    assert codebook_redundancy(codes).effective_rank == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-4
    )


def test_weights_count_a_code_as_often_as_it_occurs() -> None:
    codes = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
    repeated = codes[[0, 0, 0, 1, 2, 2]]
    weighted = codebook_redundancy(codes, torch.tensor([3, 1, 2]), weighted=True)
    assert weighted.effective_rank == pytest.approx(effective_rank(repeated, torch.ones(6).double()))
    with pytest.raises(ValueError, match="counts"):
        codebook_redundancy(codes, weighted=True)


def test_distances_agree_with_loops() -> None:
    codes = torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).double()
    nearest, nearest_cosine, every = [], [], []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        distances = [float((codes[i] - codes[j]).norm()) for j in others]
        cosines = [float(codes[i] @ codes[j] / (codes[i].norm() * codes[j].norm())) for j in others]
        nearest.append(min(distances))
        nearest_cosine.append(1.0 - max(cosines))
        every += distances
    redundancy = codebook_redundancy(codes)
    assert redundancy.nearest_distance == pytest.approx(np.mean(nearest) / np.mean(every))
    assert redundancy.nearest_cosine == pytest.approx(np.mean(nearest_cosine))


def test_near_duplicates_are_found_even_far_from_the_origin() -> None:
    """The fast form of cdist rounds small distances between long vectors to anything."""
    codes = torch.tensor([[0.0, 0.0], [0.01, 0.0], [5.0, 0.0], [0.0, 7.0]]) + 1000.0
    assert codebook_redundancy(codes).near_duplicate_share == pytest.approx(2 / 4)


def test_unused_codes_do_not_count() -> None:
    """Codes that no region takes lie where they were left, mostly on top of each other."""
    used = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    codebook = torch.cat([used, torch.zeros(6, 3)])
    counts = torch.tensor([1, 4, 2, 1, 9] + [0] * 6)
    assert codebook_redundancy(codebook, counts) == codebook_redundancy(used)
    assert codebook_redundancy(codebook).near_duplicate_share > 0.5


def test_a_collapsed_codebook_is_fully_redundant() -> None:
    collapsed = codebook_redundancy(torch.full((4, 3), 0.3))
    assert collapsed.effective_rank == 0.0
    assert collapsed.nearest_distance == 0.0
    assert collapsed.near_duplicate_share == 1.0


def test_one_code_has_no_neighbour() -> None:
    alone = codebook_redundancy(torch.randn(4, 3), torch.tensor([0, 8, 0, 0]))
    assert (alone.n_codes, alone.effective_rank) == (1, 0.0)
    assert math.isnan(alone.nearest_distance) and math.isnan(alone.near_duplicate_share)


def test_perplexity_over_equally_many_features_does_not_grow_with_their_number() -> None:
    codes = torch.randint(0, 500, (20_000,), generator=torch.Generator().manual_seed(0))
    few, many = codes[:2500], codes
    assert codebook_usage(many, 500).perplexity > codebook_usage(few, 500).perplexity + 20
    assert perplexity_of_few(few, 500) == pytest.approx(perplexity_of_few(many, 500), rel=0.03)
    assert perplexity_of_few(codes[:2048], 500) == pytest.approx(codebook_usage(codes[:2048], 500).perplexity)
    assert math.isnan(perplexity_of_few(codes[:2047], 500))
