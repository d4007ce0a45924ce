"""Agreement with true masks, against loops, enumerations and cases with a known answer."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvqlab.evaluation.images.importance import (
    NOTHING_KNOWN,
    expected_random_iou,
    importance_agreement,
    important_regions,
)


def kept_by(scores: Tensor, n: int) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(n, dim=1).indices, True)


def blocks(important: Tensor, side: int, scale: int) -> Tensor:
    """Object masks (n, H, W) whose regions are wholly on or off an object."""
    grid = important.view(-1, side, side)
    return grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def test_a_region_is_important_from_half_of_its_pixels() -> None:
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 0, :3] = True  # 3 of 9 pixels of the region top left
    mask[0, 3:5, 3:] = True  # 6 of 9 of the one bottom right
    assert important_regions(mask, side=2).tolist() == [[False, False, False, True]]
    assert important_regions(mask, side=2, object_share=1 / 3 - 1e-6).tolist() == [[True, False, False, True]]


def test_regions_are_numbered_row_by_row() -> None:
    """A swapped axis scores a model against the mirror image of the truth."""
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, :3, 6:] = True  # top right
    assert important_regions(mask, side=3)[0].nonzero().flatten().tolist() == [2]


def test_perfect_and_reversed_scores() -> None:
    important = torch.zeros(2, 9, dtype=torch.bool)
    important[0, [1, 4]] = True
    important[1, [0, 7]] = True
    mask, scores = blocks(important, 3, 4), important.float() + torch.rand(2, 9) * 0.1
    right = importance_agreement(scores, kept_by(scores, 2), mask)
    assert (right.score_auc, right.kept_iou, right.kept_iou_best) == (1.0, 1.0, 1.0)
    wrong = importance_agreement(-scores, kept_by(-scores, 2), mask)
    assert (wrong.score_auc, wrong.kept_iou) == (0.0, 0.0)


def test_auc_is_taken_within_each_image() -> None:
    """Regions compete within an image: an image that scores higher throughout must not matter."""
    important = torch.tensor([[True, False, False, False], [False, True, True, False]])
    scores = torch.tensor([[0.4, 0.3, 0.5, 0.1], [9.2, 9.3, 9.1, 9.0]])
    pairs_right = [2 / 3, 3 / 4]  # of (important, unimportant) pairs, counted by hand
    found = importance_agreement(scores, kept_by(scores, 2), blocks(important, 2, 3))
    assert found.score_auc == pytest.approx(sum(pairs_right) / 2)
    assert found.kept_iou == pytest.approx((1 / 2 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("n_kept", "n_important", "n_positions"), [(3, 2, 7), (2, 5, 6), (4, 4, 4), (1, 1, 5)]
)
def test_chance_is_the_mean_over_every_choice(n_kept: int, n_important: int, n_positions: int) -> None:
    truth = set(range(n_important))
    ious = [
        len(truth & set(choice)) / len(truth | set(choice))
        for choice in combinations(range(n_positions), n_kept)
    ]
    assert expected_random_iou(n_kept, n_important, n_positions) == pytest.approx(sum(ious) / len(ious))


@given(st.integers(1, 16), st.integers(1, 15))
def test_chance_is_never_above_the_best(n_kept: int, n_important: int) -> None:
    best = min(n_kept, n_important) / max(n_kept, n_important)
    assert 0.0 < expected_random_iou(n_kept, n_important, 16) <= best + 1e-12


def test_random_scores_come_out_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    important = torch.rand(400, 16, generator=generator) < 0.3
    scores = torch.rand(400, 16, generator=generator)
    found = importance_agreement(scores, kept_by(scores, 5), blocks(important, 4, 2))
    assert found.score_auc == pytest.approx(0.5, abs=0.03)
    assert found.kept_iou == pytest.approx(found.kept_iou_chance, abs=0.03)


def test_the_best_iou_knows_the_budget() -> None:
    """Keeping 6 regions of an image with 2 important ones cannot reach 1."""
    important = torch.tensor([[True, True] + [False] * 7])
    scores = important.float()
    found = importance_agreement(scores, kept_by(scores, 6), blocks(important, 3, 2))
    assert found.kept_iou == found.kept_iou_best == pytest.approx(2 / 6)


def test_images_without_contrast_are_left_out() -> None:
    important = torch.tensor([[False] * 4, [True] * 4, [True, False, False, False]])
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 3)
    found = importance_agreement(scores, kept_by(scores, 1), blocks(important, 2, 3))
    assert found.importance_images == 1
    assert found.score_auc == 0.0


def test_a_model_without_scores_has_no_auc() -> None:
    """The plain model's scores are all ones: an AUC of 0.5 would read like a measurement."""
    important = torch.tensor([[True, False, False, False]])
    ones = torch.ones(1, 4)
    found = importance_agreement(ones, ones.bool(), blocks(important, 2, 3))
    assert math.isnan(found.score_auc)
    assert found.kept_iou == found.kept_iou_chance == pytest.approx(0.25)


def test_data_without_masks_has_no_figures() -> None:
    assert importance_agreement(torch.rand(2, 4), torch.ones(2, 4).bool(), None) is NOTHING_KNOWN
    empty = torch.zeros(2, 6, 6, dtype=torch.bool)
    assert importance_agreement(torch.rand(2, 4), torch.ones(2, 4).bool(), empty) is NOTHING_KNOWN
