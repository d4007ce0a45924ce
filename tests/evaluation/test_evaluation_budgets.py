"""Budgets by threshold: the regions above it, as many on average as were asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import tiny_stage1

from mvqlab.evaluation.images.budgets import budget_table, score_threshold
from mvqlab.evaluation.images.masked_image import EncodedImage
from mvqlab.models.budgets import positions_above
from mvqlab.models.mqvae import MQVAE


@given(seed=st.integers(0, 200), mask_ratio=st.floats(0.0, 0.95), n=st.integers(2, 9))
def test_the_mean_share_kept_is_what_was_asked_for(seed: int, mask_ratio: float, n: int) -> None:
    scores = torch.rand(n, 40, generator=torch.Generator().manual_seed(seed))
    threshold = score_threshold(scores, mask_ratio)
    share = (scores > threshold).double().mean()
    assert abs(share - (1.0 - mask_ratio)) <= 1.0 / scores.numel() + 1e-9


@pytest.fixture
def model() -> MQVAE:
    return tiny_stage1("mask.mask_ratio=[0.0, 0.9]")


def test_the_table_is_what_single_images_give(model: MQVAE) -> None:
    random = torch.Generator().manual_seed(1)
    images, calibration = (torch.rand(n, 3, 16, 16, generator=random) * 2.0 - 1.0 for n in (5, 7))
    table = budget_table(model, images, calibration, [0.5]).set_index("budget")
    known = torch.cat([EncodedImage(model, image).scores for image in calibration])
    threshold = score_threshold(known, 0.5)
    numbers, errors = [], []
    for image in images:
        encoded = EncodedImage(model, image)
        masked = encoded.keep(positions_above(encoded.scores, threshold)[0])
        numbers.append(len(masked.codes))
        errors.append(float(((masked.image.double() - encoded.image.double()) / 255.0).square().mean()))
    row = table.loc["threshold"]
    assert row["kept"] == pytest.approx(sum(numbers) / 5)
    assert (row["kept_min"], row["kept_max"]) == (min(numbers), max(numbers))
    pooled = -10.0 * torch.tensor(errors).mean().log10()
    assert row["pooled_psnr"] == pytest.approx(float(pooled), abs=1e-3)
    assert table.loc["fixed", "kept"] == 8 and table.loc["fixed", "kept_std"] == 0
    assert row["pooled_psnr"] <= row["psnr"] + 1e-9  # Jensen


def test_a_model_without_scores_is_refused() -> None:
    plain = tiny_stage1("mask.kind=none", "mask.mask_ratio=0")
    with pytest.raises(ValueError, match="needs a model with learned scores"):
        budget_table(plain, torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), [0.5])
