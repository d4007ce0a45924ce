"""What a region is worth: against a slow reference, and guesses worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_runs import tiny_stage1

from mvqlab.evaluation import drop_costs
from mvqlab.evaluation.images.region_drop import (
    guess_from_neighbours,
    mean_code,
    rank_correlations,
    same_everywhere,
)
from mvqlab.models.mqvae import TokenModel

PLAIN = ["mask.kind=none", "mask.mask_ratio=0"]


def started(*changes: str) -> TokenModel:
    """A model whose codebook is that of a first batch: fresh codes are all near zero."""
    model = tiny_stage1(*changes)
    model.initialise_codebook(torch.randn(6, 3, 16, 16))
    return model


def test_the_mean_code_goes_by_the_counts() -> None:
    codebook, counts = torch.tensor([[0.0, 4.0], [8.0, 0.0], [1.0, 1.0]]), torch.tensor([3, 1, 0])
    assert mean_code(codebook, counts).tolist() == [2.0, 3.0]


def test_neighbours_are_those_around_and_never_the_region_itself() -> None:
    regions = torch.zeros(1, 9, 2)
    regions[0, 4] = torch.tensor([30.0, 60.0])  # the middle of 3 x 3
    guess = guess_from_neighbours(regions)
    assert torch.equal(guess[0, 4], torch.zeros(2))
    assert torch.allclose(guess[0, 0], torch.tensor([10.0, 20.0]))  # a corner has three neighbours
    assert torch.allclose(guess[0, 1], torch.tensor([6.0, 12.0]))  # an edge has five
    constant = torch.full((2, 16, 3), 0.3)
    assert torch.allclose(guess_from_neighbours(constant), constant)


def test_costs_agree_with_one_decoding_after_the_other() -> None:
    model, images = started(*PLAIN), torch.rand(2, 3, 16, 16) * 2 - 1
    stand_in = torch.randn(8)
    costs = drop_costs(model, images, same_everywhere(stand_in))
    assert costs.shape == (2, 16)

    def error(image: torch.Tensor, regions: torch.Tensor) -> float:
        restored = model.restore(regions, torch.arange(16)[None]).clamp(-1, 1)
        pixels = ((restored + 1) / 2 - (image + 1) / 2).double()
        return float(pixels.square().mean())

    with torch.no_grad():
        for number, image in enumerate(images):
            regions = model.quantizer.codebook.look_up(model.encode(image[None]).codes)
            for place in (0, 5, 15):
                changed = regions.clone()
                changed[0, place] = stand_in
                expected = error(image, changed) - error(image, regions)
                assert float(costs[number, place]) == pytest.approx(expected, abs=1e-6)


def test_a_guess_that_is_right_costs_nothing() -> None:
    model, images = started(*PLAIN), torch.randn(2, 3, 16, 16).clamp(-1, 1)
    assert drop_costs(model, images, lambda regions: regions).abs().max() < 1e-6
    assert drop_costs(model, images, guess_from_neighbours).abs().max() > 1e-5


def test_a_model_that_drops_regions_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 8 of 16 regions"):
        drop_costs(started("mask.mask_ratio=0.5"), torch.randn(1, 3, 16, 16), guess_from_neighbours)


def test_rank_correlation_sees_the_order_alone() -> None:
    costs = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    others = torch.tensor([[0.0, 1.0, 50.0, 51.0], [9.0, 4.0, 1.0, -3.0], [2.0, 2.0, 2.0, 2.0]])
    found = rank_correlations(costs, others)
    assert found[:2].tolist() == pytest.approx([1.0, -1.0])
    assert math.isnan(found[2])  # nothing to rank


def test_rank_correlation_by_hand() -> None:
    """1 - 6 sum d^2 / (n (n^2 - 1)) with ranks that differ by 1, 1 and 0."""
    assert float(
        rank_correlations(torch.tensor([[1.0, 2, 3]]), torch.tensor([[2.0, 1, 3]]))
    ) == pytest.approx(1 - 6 * 2 / (3 * 8))
