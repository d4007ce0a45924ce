"""Errors by the distance to the nearest kept region, against a plain search and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvqlab.evaluation.images.distance import distances_to_kept, psnr_by_distance
from mvqlab.training.losses import region_errors


def plain_distances(is_kept, side):
    """The largest of row and column difference, to the nearest of all kept regions."""
    kept = [divmod(int(place), side) for place in is_kept.nonzero().flatten()]
    return [
        min(max(abs(row - r), abs(column - c)) for r, c in kept)
        for row in range(side)
        for column in range(side)
    ]


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 6), seed=st.integers(0, 1000), data=st.data())
def test_distances_are_those_of_a_plain_search(side, seed, data):
    n = data.draw(st.integers(1, side * side))
    order = torch.randperm(side * side, generator=torch.Generator().manual_seed(seed))
    is_kept = torch.zeros(1, side * side, dtype=torch.bool)
    is_kept[0, order[:n]] = True
    assert distances_to_kept(is_kept)[0].tolist() == plain_distances(is_kept[0], side)


def test_an_image_without_kept_regions_is_refused():
    is_kept = torch.tensor([[True, False, False, False], [False] * 4])
    with pytest.raises(ValueError, match="keeps no region"):
        distances_to_kept(is_kept)


def test_errors_are_those_of_a_regions_own_pixels():
    images = -torch.ones(1, 3, 4, 4)
    restored = images.clone()
    restored[0, 1, 0, 2] = 1.0  # one value of the twelve in the second region, from 0 to 1 of [0, 1]
    assert region_errors(images, restored, side=2)[0].tolist() == pytest.approx([0, 1 / 12, 0, 0])


def test_psnr_at_each_distance_by_hand():
    side = 8
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    restored = images.clone()
    is_kept = torch.zeros(1, side * side, dtype=torch.bool)
    is_kept[0, ::side] = True  # the first column: distance is the column
    for column in range(side):
        restored[..., 2 * column : 2 * column + 2] = 51 * min(
            column, 4
        )  # errors of 0, 0.2, 0.4, 0.6, 0.8 ...
    found = psnr_by_distance(images, restored, is_kept)
    assert found["psnr_at_distance_0"] == 100.0
    assert found["psnr_at_distance_1"] == pytest.approx(-20 * math.log10(0.2), abs=1e-4)
    assert found["psnr_at_distance_2"] == pytest.approx(-20 * math.log10(0.4), abs=1e-4)
    farther = (0.6**2 + 4 * 0.8**2) / 5  # columns 3 to 7 together
    assert found["psnr_at_distance_3"] == pytest.approx(-10 * math.log10(farther), abs=1e-4)


def test_where_all_is_kept_nothing_is_far():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    found = psnr_by_distance(images, images + 51, torch.ones(2, 16, dtype=torch.bool))
    assert found["psnr_at_distance_0"] == pytest.approx(-20 * math.log10(0.2), abs=1e-4)
    assert all(math.isnan(found[f"psnr_at_distance_{steps}"]) for steps in (1, 2, 3))
