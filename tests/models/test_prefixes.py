"""Nested dropout (`mask.budget: prefix`): each image draws its own N, and the best N of any N decode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import tiny
from torch import Tensor

from mvqlab.config import Config, ConfigError
from mvqlab.data import batches_in_order, build_splits
from mvqlab.evaluation.images.choice import choosing
from mvqlab.models.budgets import PrefixMask, best_of_each
from mvqlab.models.mask_context import NO_CONTEXT
from mvqlab.models.mqvae import MQVAE, build_stage1
from mvqlab.training import train_stage1, train_stage2


def settings(*changes: str) -> Config:
    return tiny("mask.budget=prefix", "mask.mask_ratio=[0.0,0.9]", "mask.evaluation_ratio=0.5", *changes)


def images(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@given(st.data())
def test_each_image_keeps_its_own_best(data: st.DataObject) -> None:
    n_positions, n_images = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    numbers = st.permutations(range(n_positions))
    scores = torch.tensor([data.draw(numbers) for _ in range(n_images)], dtype=torch.float32)
    n = [data.draw(st.integers(1, n_positions)) for _ in range(n_images)]
    positions = best_of_each(scores, torch.tensor(n))
    assert positions.shape == (n_images, max(n))
    for row, of_image, kept in zip(positions.tolist(), scores.tolist(), n, strict=True):
        best = sorted(sorted(range(n_positions), key=lambda place: -of_image[place])[:kept])
        assert row == best + [n_positions] * (max(n) - kept)


def test_images_of_a_batch_draw_for_themselves_from_the_whole_range() -> None:
    torch.manual_seed(0)
    model = build_stage1(settings())
    assert isinstance(model, MQVAE) and isinstance(model.mask, PrefixMask)
    lengths = torch.cat([model(images(16)).pairs.lengths for _ in range(20)])
    fewest, most = model.mask.n_in_training
    assert lengths.unique().tolist() == list(range(fewest, most + 1))
    model.eval()
    made = model(images(3))
    assert made.pairs.n_pairs == model.n_kept == 8 and made.pairs.lengths.tolist() == [8, 8, 8]
    assert not model.has_budgets


def test_what_an_image_drew_is_all_that_it_is_restored_from() -> None:
    """In training, as the same image alone from as many regions: padding is never seen."""
    torch.manual_seed(0)
    model = build_stage1(settings())
    kept = model.select(images(6), NO_CONTEXT)
    restored = model.restore(kept.features, kept.positions)
    for row, n in enumerate((~kept.is_padding).sum(dim=1).tolist()):
        alone = model.restore(kept.features[row : row + 1, :n], kept.positions[row : row + 1, :n])
        torch.testing.assert_close(restored[row], alone[0], atol=1e-5, rtol=1e-4)


def test_a_trained_model_restores_any_prefix_and_better_from_more(tmp_path: Path) -> None:
    config = settings(
        "stage1.steps=60", "stage1.batch_size=8", "stage1.learning_rate=3e-3", "data.train_size=32"
    )
    model = train_stage1(config, tmp_path)
    shown = next(batches_in_order(build_splits(config.data).train, 32)).images
    errors = []
    for n in (1, 4, 8, 16):
        with choosing(model, n), torch.no_grad():
            errors.append((model(shown).images - shown).square().mean().item())
    assert errors == sorted(errors, reverse=True), errors


def test_stage_2_learns_pairs_as_of_any_model(tmp_path: Path) -> None:
    config = settings("transformer.order=score")
    stage1 = train_stage1(config, tmp_path / "stage1")
    transformer = train_stage2(config, stage1, tmp_path / "stage2")
    assert transformer.n_pairs == stage1.n_kept and not transformer.has_end


@pytest.mark.parametrize("change", ["mask.mask_ratio=0.5", "mask.kind=random"])
def test_prefixes_need_scores_and_a_range(change: str) -> None:
    with pytest.raises(ConfigError, match=r"mask_ratio=\[0.0,0.9\]"):
        settings(change)
