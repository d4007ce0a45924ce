"""Scores that learn what dropped regions lose (`loss.scorer_weight`): by hand, and whom it teaches."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_runs import tiny
from torch import Tensor

from mvqlab.config import ConfigError
from mvqlab.models.mqvae import Reconstruction, build_stage1
from mvqlab.models.pairs import Pairs
from mvqlab.training import train_stage1
from mvqlab.training.losses import Judges, generator_loss, scorer_loss

SIDE = 2
ALONE = ("loss.scorer_weight=0.1", "mask.product=none", "mask.mask_ratio=0.5")


def made_of(restored: Tensor, scores: Tensor, is_kept: Tensor) -> Reconstruction:
    positions = torch.zeros(1, 1, dtype=torch.long)
    return Reconstruction(restored, Pairs(positions, positions, SIDE), scores, is_kept, torch.zeros(()))


def test_the_loss_by_hand() -> None:
    images = torch.zeros(1, 3, 4, 4)
    restored = images.clone()
    restored[..., :2, :2], restored[..., :2, 2:], restored[..., 2:, :2] = 0.4, 0.2, 3.0  # the last is clipped
    scores = torch.tensor([[0.04, 0.5, 0.3, 0.9]])
    is_kept = torch.tensor([[False, False, True, True]])
    found = scorer_loss(made_of(restored, scores, is_kept), images)
    first, second = math.log(0.04 / 0.96) - math.log(0.2**2), 0.0 - math.log(0.1**2)
    assert found.item() == pytest.approx((first**2 + second**2) / 2, rel=1e-5)
    nothing = scorer_loss(made_of(restored, scores, torch.ones_like(is_kept)), images)
    assert nothing.item() == 0.0


@pytest.mark.parametrize("kind", ["adaptive", "dual_grain"])
def test_it_is_a_term_of_the_whole_and_teaches_the_scorer_alone(kind: str) -> None:
    torch.manual_seed(0)
    config = tiny(*ALONE, f"mask.kind={kind}")
    model = build_stage1(config)
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    made = model(images)
    loss = generator_loss(config.loss, Judges(None, None), made, images, model.decoder.last_layer, 0.0)
    without = config.loss.model_copy(update={"scorer_weight": 0.0})
    rest = generator_loss(without, Judges(None, None), made, images, model.decoder.last_layer, 0.0)
    torch.testing.assert_close(loss.total, rest.total + 0.1 * loss.scorer)
    assert rest.scorer is None
    loss.scorer.backward()
    taught = {
        name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()
    }
    assert taught and all(name.startswith("mask.scorer.") for name in taught), taught


def test_without_it_a_scorer_without_a_product_learns_nothing() -> None:
    torch.manual_seed(0)
    config = tiny("mask.product=none", "mask.mask_ratio=0.5")
    model = build_stage1(config)
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    generator_loss(
        config.loss, Judges(None, None), model(images), images, model.decoder.last_layer, 0.0
    ).total.backward()
    assert all(weight.grad is None for weight in model.mask.scorer.parameters())


def test_a_router_is_told_what_coarse_blocks_lose_where_they_have_no_pair() -> None:
    torch.manual_seed(0)
    model = build_stage1(tiny(*ALONE, "mask.kind=dual_grain"))
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    made = model(images)
    side = model.side
    errors = ((made.images.clamp(-1, 1) - images) / 2).square().mean(dim=1)  # (B, H, W)
    expected = []
    for image, (has_pair, scores) in enumerate(zip(made.is_kept, made.scores, strict=True)):
        for region in (~has_pair).nonzero().flatten().tolist():
            row, column = divmod(region, side)
            block = (row - row % 2) * side + column - column % 2
            assert has_pair[block] and scores[block] == scores[region]
            size = 16 // side
            rows, columns = (slice(place * size, (place + 1) * size) for place in (row, column))
            expected.append((scores[region].logit() - errors[image, rows, columns].mean().log()) ** 2)
    torch.testing.assert_close(scorer_loss(made, images), torch.stack(expected).mean())


def test_curves_tell_it_and_held_out_losses_hold_none_of_it(tmp_path: Path) -> None:
    changes = ("stage1.steps=4", "stage1.log_every=2", "stage1.validate_every=4")
    train_stage1(tiny(*ALONE, *changes), tmp_path / "with")
    train_stage1(tiny("mask.product=none", *changes), tmp_path / "without")
    curves = pd.read_csv(tmp_path / "with" / "curves.csv")
    assert (curves.query("split == 'train'")["scorer"] > 0).all()
    held_out = curves.query("split == 'validation'").iloc[-1]
    assert held_out["loss"] < 2.0  # a log error's distance is some ten
    assert "scorer" not in pd.read_csv(tmp_path / "without" / "curves.csv")


def test_it_needs_learned_scores() -> None:
    with pytest.raises(ConfigError, match=r"loss\.scorer_weight=0"):
        tiny("loss.scorer_weight=1", "mask.kind=random")
