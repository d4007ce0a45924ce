"""A trained model that keeps other regions: only the choice changes, and it changes back."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny, tiny_stage1

from mvqlab.evaluation.images.choice import at_random, by_score, choosing, upside_down
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.masking import keep_best
from mvqlab.models.mqvae import MQVAE, build_stage1


@pytest.fixture
def model() -> MQVAE:
    return tiny_stage1()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16) * 2.0 - 1.0


@torch.no_grad()
def test_its_own_choice_is_what_the_mask_module_does(model: MQVAE, images: torch.Tensor) -> None:
    expected = model.select(images)
    with choosing(model, model.n_kept, by_score):
        found = model.select(images)
    assert all(torch.equal(a, b) for a, b in zip(expected[:4], found[:4], strict=True))


@torch.no_grad()
def test_another_number_is_what_n_does(model: MQVAE, images: torch.Tensor) -> None:
    trained = model.mask
    with choosing(model, 11):
        found = model(images)
    assert model.mask is trained and found.pairs.n_pairs == 11
    trained.n = 11
    assert torch.equal(model(images).images, found.images)


@torch.no_grad()
def test_upside_down_keeps_what_scores_lowest_times_its_own_score(model: MQVAE, images: torch.Tensor) -> None:
    n = model.n_positions // 2
    kept = model.select(images)
    with choosing(model, n, upside_down):
        found = model.select(images)
    assert torch.equal(found.is_kept, ~kept.is_kept) and torch.equal(found.scores, kept.scores)
    with choosing(model, model.n_positions):
        everything = model.select(images).features
    for row in range(len(images)):
        assert torch.allclose(found.features[row], everything[row, found.positions[row]])


@torch.no_grad()
def test_a_random_choice_follows_its_generator_and_not_the_scores(model: MQVAE, images: torch.Tensor) -> None:
    with choosing(model, 5, at_random):
        first, again, other = (
            model.select(images, MaskContext(generator=torch.Generator().manual_seed(s))).positions
            for s in (1, 1, 2)
        )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first.diff(dim=1) > 0).all()


def test_the_model_is_whole_again_after_an_error(model: MQVAE) -> None:
    trained = model.mask
    with pytest.raises(RuntimeError, match="inside"), choosing(model, 5):
        raise RuntimeError("inside")
    assert model.mask is trained


@pytest.mark.parametrize("n", [0, 17])
def test_a_number_that_cannot_be_kept_is_refused(model: MQVAE, n: int) -> None:
    with pytest.raises(ValueError, match="of 16 regions"), choosing(model, n):
        pass


@torch.no_grad()
@pytest.mark.parametrize("kind", ["adaptive", "upside_down", "variance", "dual_grain", "prefix"])
def test_left_to_itself_every_mask_keeps_what_it_keeps_anyway(kind: str, images: torch.Tensor) -> None:
    how = ["mask.budget=prefix", "mask.mask_ratio=[0.25,0.75]"] if kind == "prefix" else [f"mask.kind={kind}"]
    model = build_stage1(tiny(*how)).eval()
    expected = model.select(images)
    with choosing(model, model.n_kept):
        found = model.select(images)
    assert torch.equal(expected.positions, found.positions)


@torch.no_grad()
def test_by_a_threshold_each_image_keeps_as_many_as_are_asked_for(images: torch.Tensor) -> None:
    model = build_stage1(tiny("mask.budget=threshold")).eval()
    with choosing(model, 5):
        found = model.select(images)
    assert torch.equal(found.positions, keep_best(found.scores, 5)[0])
