"""How a scorer is trained: its own rate, a ratio that rises, noise on its choice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny

from mvqlab.config import Config, ConfigError
from mvqlab.data import Splits, build_splits
from mvqlab.models.masking import MaskModule
from mvqlab.models.mqvae import build_stage1
from mvqlab.training import train_stage1
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.run_settings import load_settings
from mvqlab.training.schedule import set_learning_rate
from mvqlab.training.stage1 import adam
from mvqlab.training.stage2 import check_same_stage1
from mvqlab.training.warm_up import set_mask

SHORT = ["stage1.steps=6", "stage1.checkpoint_every=3", "stage1.log_every=1"]
RECIPES = {
    "rate": ["mask.scorer_rate=0.1"],
    "rising ratio": ["mask.ramp_steps=4", "mask.mask_ratio=0.75"],
    "noise": ["mask.exploration=1.0"],
    "fading noise": ["mask.exploration=1.0", "mask.exploration_steps=4"],
    "gain": ["mask.kind=variance", "mask.product=straight_through", "mask.scorer_rate=3"],
    "dual grain": [
        *("mask.kind=dual_grain", "mask.mask_ratio=[0.2,0.7]", "mask.ramp_steps=3", "mask.scorer_rate=2"),
        *("mask.exploration=1.0", "mask.exploration_steps=4"),
    ],
    "dual grain, taught": ["mask.kind=dual_grain", "mask.recipe=taught", "mask.mask_ratio=0.5"],
    "prefix": ["mask.budget=prefix", "mask.mask_ratio=[0.2,0.8]", "mask.recipe=taught"],
    "threshold, taught": ["mask.budget=threshold", "mask.recipe=taught", "mask.mask_ratio=0.5"],
    "no de-masker": ["demask.kind=none", "mask.norm=false", "mask.product=none"],
}


def short(*changes: str) -> Config:
    return tiny(*SHORT, *changes)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return build_splits(short().data)


def test_a_scorer_goes_at_a_rate_of_its_own() -> None:
    model = build_stage1(short())
    optimiser = adam(model, short().stage1, scorer_rate=0.1)
    set_learning_rate(optimiser, 0.02)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in model.mask.scorer.parameters()} == {0.002}
    others = [p for name, p in model.named_parameters() if not name.startswith("mask.scorer.")]
    assert {rates[id(p)] for p in others} == {0.02} and len(rates) == len(list(model.parameters()))


def test_the_ratio_rises_step_by_step_to_what_is_asked_for(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    n_of_batch = MaskModule.n_of_batch

    def noted(mask: MaskModule, n_positions: int) -> int:
        n = n_of_batch(mask, n_positions)
        if mask.training:
            kept.append(n)
        return n

    monkeypatch.setattr(MaskModule, "n_of_batch", noted)
    train_stage1(short(*RECIPES["rising ratio"]), tmp_path, splits=splits)
    assert kept[0] == 16 and kept[-2:] == [4, 4] and sorted(kept, reverse=True) == kept


def test_noise_fades_to_none_and_stays_where_it_is_not_told_to() -> None:
    for steps, expected in ((4, [1.0, 0.75, 0.25, 0.0, 0.0]), (0, [1.0] * 5)):
        settings = short("mask.exploration=2.0", f"mask.exploration_steps={steps}")
        model = build_stage1(settings)
        found = []
        for step in (0, 1, 3, 4, 5):
            set_mask(model, step, settings.mask)
            found.append(model.mask.fading)
        assert found == expected
    scores = torch.rand(2, 16)
    assert model.mask.train().ranked_by(scores) is not scores
    model.mask.fading = 0.0
    assert model.mask.ranked_by(scores) is scores


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_learns_and_resumes_to_the_same_bits(
    recipe: list[str], tmp_path: Path, splits: Splits
) -> None:
    config = short(*recipe)
    whole = train_stage1(config, tmp_path / "whole", splits=splits).state_dict()

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage1(config, tmp_path / "cut", splits=splits, on_step=stop)
    torch.manual_seed(99)
    resumed = train_stage1(config, tmp_path / "cut", splits=splits, resume=True).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    torch.manual_seed(config.seed)
    before = build_stage1(config).state_dict()
    assert any(not torch.equal(whole[name], before[name]) for name in whole if "demask" in name)


def test_a_run_that_takes_more_steps_goes_on_to_explore_as_it_began(tmp_path: Path, splits: Splits) -> None:
    taught = ["mask.recipe=taught", "stage1.cosine=false"]
    train_stage1(short(*taught), tmp_path, splits=splits)
    for steps in (10, 14):
        longer = short(*taught, f"stage1.steps={steps}")
        assert longer.mask.exploration_steps == steps // 2
        train_stage1(longer, tmp_path, splits=splits, resume=True)
        kept = load_settings(tmp_path)
        assert (kept.stage1.steps, kept.mask.exploration_steps) == (steps, 3)
    said = short(*taught, "mask.exploration_steps=3", "stage1.steps=16")
    train_stage1(said, tmp_path, splits=splits, resume=True)
    with pytest.raises(CheckpointError, match=r"mask\.exploration_steps: was 3, now 4"):
        given = short(*taught, "mask.exploration_steps=4", "stage1.steps=20")
        train_stage1(given, tmp_path, splits=splits, resume=True)


def test_stage_2_takes_a_stage_1_that_learned_in_another_way() -> None:
    longer = ["stage1.steps=40", "quantizer.start_step=5", "mask.recipe=taught", "quantizer.ema_decay=0.9"]
    same_model = short(*longer)
    check_same_stage1(short("mask.recipe=taught"), same_model)
    with pytest.raises(ConfigError, match=r"trained with mask\.product=none: give stage 2 the same"):
        check_same_stage1(short(), same_model)


def test_weights_decay_where_they_are_told_to() -> None:
    model = torch.nn.Linear(4, 4)
    rates = {id(p): p.detach().clone() for p in model.parameters()}
    optimiser = adam(model, short("stage1.weight_decay=0.1").stage1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for parameter in model.parameters():
        before = rates[id(parameter)]
        assert ((parameter - before) * before <= 0).all() and not torch.equal(parameter, before)
