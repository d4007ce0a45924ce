"""Whether lengths and bits follow how much there is in an image, as a codec sees it."""

from __future__ import annotations

import math

import pytest
import torch

from mvqlab.evaluation.images.complexity import complexity, rank_correlation
from mvqlab.evaluation.images.reconstruction import GOOD_PSNR, HeldOut, reconstruction_quality
from mvqlab.evaluation.run_report import length_complexity
from mvqlab.models.pairs import NO_CODE, Pairs

SIDE = 4


def images_with_noise_on(shares: list[float]) -> torch.Tensor:
    """Grey images (n, 3, 32, 32) with noise on their upper rows."""
    images = torch.full((len(shares), 3, 32, 32), 128, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    for image, share in zip(images, shares, strict=True):
        rows = round(32 * share)
        image[:, :rows] = torch.randint(256, (3, rows, 32), generator=generator)
    return images


def held_out(lengths: list[int], images: torch.Tensor, restored: torch.Tensor) -> HeldOut:
    n, n_places = len(lengths), SIDE**2
    places = torch.arange(n_places).expand(n, -1)
    is_padding = places >= torch.tensor(lengths)[:, None]
    pairs = Pairs(
        torch.zeros(n, n_places).long().masked_fill(is_padding, NO_CODE),
        places.masked_fill(is_padding, n_places),
        SIDE,
    )
    return HeldOut(images, restored, pairs, torch.rand(n, n_places), ~is_padding, None, torch.zeros(n))


def test_more_in_an_image_is_more_complexity() -> None:
    found = complexity(images_with_noise_on([0.5, 0.0, 1.0, 0.25]))
    assert found.argsort().tolist() == [1, 3, 0, 2]


def test_ranks_are_compared() -> None:
    """By hand: one pair of neighbours of four swapped, 1 - 6 * 2 / (4 * 15)."""
    assert rank_correlation(torch.tensor([1, 20, 3, 400]), torch.tensor([1.0, 5.0, 4.9, 6.0])) == 1.0
    found = rank_correlation(torch.tensor([1, 2, 3, 4]), torch.tensor([1.0, 3.0, 2.0, 9.0]))
    assert found == pytest.approx(0.8)
    assert math.isnan(rank_correlation(torch.tensor([1, 2]), torch.tensor([3.0, 3.0])))


def test_lengths_follow_complexity_or_do_not() -> None:
    images = images_with_noise_on([0.0, 0.25, 0.5, 1.0])
    follow, oppose, alike = ([1, 4, 8, 16], [16, 8, 4, 1], [8, 8, 8, 8])
    assert length_complexity(held_out(follow, images, images)) == 1.0
    assert length_complexity(held_out(oppose, images, images)) == -1.0
    assert math.isnan(length_complexity(held_out(alike, images, images)))


def test_the_share_of_good_images_counts_those_at_the_threshold_or_above() -> None:
    images = images_with_noise_on([1.0, 1.0, 1.0, 1.0])
    errors = [0, 10, 20, 60]  # levels on every pixel of a grey image: exact, 28.1, 22.1 and 12.6 dB
    images[:] = 128
    restored = images.clone()
    for image, error in zip(restored, errors, strict=True):
        image += error
    assert 20 * math.log10(255 / 10) > GOOD_PSNR > 20 * math.log10(255 / 20)
    found = reconstruction_quality(held_out([16] * 4, images, restored))
    assert found["good_psnr_share"] == 0.5
