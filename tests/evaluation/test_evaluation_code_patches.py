"""Pieces of images are cut where their code was taken; coverage is that of the code's own regions."""

from __future__ import annotations

import math

import torch

from mvqlab.evaluation.codebook.code_patches import code_coverage, code_patches
from mvqlab.models.pairs import Pairs


def numbered(n: int = 2, side: int = 3, factor: int = 4) -> torch.Tensor:
    """Images in bytes, each pixel the number of its region, counted on from image to image."""
    regions = torch.arange(n * side * side, dtype=torch.uint8).view(n, 1, side, side)
    return regions.repeat_interleave(factor, 2).repeat_interleave(factor, 3).expand(-1, 3, -1, -1)


PAIRS = Pairs(torch.tensor([[7, 5, 7], [5, 7, 1]]), torch.tensor([[0, 4, 5], [2, 4, 8]]), 3)


def test_patches_show_the_regions_that_took_the_code() -> None:
    found = code_patches(numbered(), PAIRS, 7, context=0)
    assert found.shape == (3, 4, 4, 3)
    assert [set(patch.flatten().tolist()) for patch in found] == [{0}, {5}, {9 + 4}]


def test_context_is_what_lies_around_and_edges_are_repeated() -> None:
    corner, edge, middle = code_patches(numbered(), PAIRS, 7, context=1)
    assert middle.shape == (12, 12, 3)
    assert middle[::4, ::4, 0].tolist() == [[9, 10, 11], [12, 13, 14], [15, 16, 17]]
    assert corner[::4, ::4, 0].tolist() == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]
    assert edge[::4, ::4, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]


def test_few_patches_are_spread_over_all_images() -> None:
    images = numbered(20, side=2)
    pairs = Pairs(torch.full((20, 1), 3), torch.zeros(20, 1, dtype=torch.long), 2)
    found = code_patches(images, pairs, 3, n=3, context=0)
    assert found[:, 0, 0, 0].tolist() == [0, 4 * 10, 4 * 19]  # of images 0, 10 and 19
    assert len(code_patches(images, pairs, 3, n=1, context=0)) == 1
    assert code_patches(images, pairs, 4, context=0).shape == (0, 4, 4, 3)


def test_images_between_minus_one_and_one_come_out_as_bytes() -> None:
    images = numbered().float() / 127.5 - 1.0
    assert (code_patches(images, PAIRS, 7) == code_patches(numbered(), PAIRS, 7)).all()


def test_coverage_is_the_mean_over_a_codes_regions() -> None:
    importance = torch.zeros(2, 6, 6, dtype=torch.bool)
    importance[0, 0:2, 0:1] = True  # half of region 0
    importance[0, 2:4, 4:6] = True  # all of region 5
    coverage = code_coverage(PAIRS, importance, codebook_size=8)
    assert math.isclose(coverage[7], (0.5 + 1.0 + 0.0) / 3)
    assert coverage[5] == 0.0 and coverage[1] == 0.0
    assert coverage[[0, 2, 3, 4, 6]].isnan().all()
