"""Other choices of regions, judged in dB; the greedy one against trying everything."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from tiny_runs import tiny
from torch import Tensor

from mvqlab.config import MASK_KINDS
from mvqlab.data import Batch
from mvqlab.evaluation.images.greedy import (
    errors_without,
    greedy_positions,
    quantised_everywhere,
    restored_from,
)
from mvqlab.evaluation.images.rivals import choice_columns, choices_in_decibels, greedy_psnr
from mvqlab.models.mqvae import MQVAE, build_stage1
from mvqlab.results.columns import CHOICES

SMALL = ["data.resolution=8", "backbone.channel_multipliers=[1,2]"]  # 16 regions


@pytest.fixture(scope="module")
def model() -> MQVAE:
    torch.manual_seed(0)
    model = build_stage1(tiny(*SMALL))
    model.initialise_codebook(torch.rand(6, 3, 8, 8) * 2 - 1)
    assert isinstance(model, MQVAE)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def error(model: MQVAE, image: Tensor, positions: list[int]) -> float:
    restored = restored_from(model, image[None], torch.tensor([positions])).clamp(-1, 1)
    return float(((restored - image) / 2).square().mean())


def test_the_greedy_choice_is_the_best_of_all_first_steps(model: MQVAE, images: Tensor) -> None:
    """Written out: of all ways to drop one region, and then one more, the least harmful."""
    found = greedy_positions(model, images, 14)
    for image, positions in zip(images, found.tolist(), strict=True):
        first = min(combinations(range(16), 15), key=lambda kept: error(model, image, list(kept)))
        second = min(combinations(first, 14), key=lambda kept: error(model, image, list(kept)))
        assert positions == list(second)


def test_dropping_several_between_two_trials_drops_the_least_missed(model: MQVAE, images: Tensor) -> None:
    regions, everywhere = quantised_everywhere(model, images), torch.arange(16).expand(3, -1)
    errors = errors_without(model, images, regions, everywhere)
    found = greedy_positions(model, images, 13, dropped_at_once=3)
    for kept, of_image in zip(found.tolist(), errors, strict=True):
        assert set(range(16)) - set(kept) == set(of_image.argsort()[:3].tolist())


def test_keeping_everything_is_what_the_model_does_at_ratio_0(model: MQVAE, images: Tensor) -> None:
    whole = build_stage1(tiny(*SMALL, "mask.mask_ratio=0")).eval()
    whole.load_state_dict(model.state_dict())
    everywhere = greedy_positions(model, images, 16)
    assert torch.allclose(restored_from(model, images, everywhere), whole(images).images, atol=1e-5)


@pytest.mark.parametrize("n", [0, 17])
def test_a_number_that_cannot_be_kept_is_refused(model: MQVAE, images: Tensor, n: int) -> None:
    with pytest.raises(ValueError, match="of 16 regions"):
        greedy_positions(model, images, n)


def test_the_table_has_every_choice_and_regret_against_the_greedy_one(model: MQVAE, images: Tensor) -> None:
    importance = torch.zeros(3, 8, 8, dtype=torch.bool)
    importance[:, :3] = True
    batch = Batch(images, torch.zeros(3, dtype=torch.long), [""] * 3, importance)
    table = choices_in_decibels(model, [batch], oracle_images=2)
    assert {"adaptive", "random", "variance", "truth", "greedy"} <= set(table.index)
    own = table.loc["adaptive"]
    assert own["regret"] == pytest.approx(greedy_psnr(model, images[:2]) - own["psnr_of_few"])
    assert table["regret"].drop("greedy").min() > 0 == table.loc["greedy", "regret"]
    columns = choice_columns(table)
    assert columns["psnr_by_truth"] == table.loc["truth", "psnr"]
    assert columns["regret_of_adaptive"] == own["regret"] and "psnr_by_greedy" not in columns
    without = choices_in_decibels(model, [Batch(images, batch.labels, batch.captions)], oracle_images=0)
    assert "truth" not in without.index and "regret" not in without


@torch.no_grad()
def test_a_mask_that_looks_at_pixels_can_be_held_against_the_greedy_choice(images: Tensor) -> None:
    model = build_stage1(tiny(*SMALL, "mask.kind=variance")).eval()
    assert greedy_positions(model, images, model.n_kept).shape == (len(images), model.n_kept)


@pytest.mark.parametrize("product", ["none", "score"])
def test_masks_that_know_the_objects_can_be_held_against_other_choices(images: Tensor, product: str) -> None:
    model = build_stage1(tiny(*SMALL, "mask.kind=truth", f"mask.product={product}")).eval()
    importance = torch.zeros(3, 8, 8, dtype=torch.bool)
    importance[:, :3] = True
    batch = Batch(images, torch.zeros(3, dtype=torch.long), [""] * 3, importance)
    assert choices_in_decibels(model, [batch], oracle_images=2)["regret"].notna().sum() > 5


def test_every_choice_has_its_columns() -> None:
    assert set(CHOICES) == set(MASK_KINDS) - {"none", "dual_grain"}
