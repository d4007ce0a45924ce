"""Recipes of learned scores: what they fill in, what stands beside it, and that runs are read back whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvqlab.config import Config, ConfigError, config_from_dict, load_config
from mvqlab.config.loading import save_config


def preset(tmp_path: Path, mask: str = "{recipe: taught, mask_ratio: 0.75}") -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"mask: {mask}\nstage1: {{steps: 300}}\n", encoding="utf-8")
    return path


def test_a_recipe_fills_in_what_is_not_given(tmp_path: Path) -> None:
    config = load_config(preset(tmp_path))
    assert (config.mask.product, config.mask.exploration, config.mask.exploration_steps) == ("none", 1.0, 150)
    assert config.loss.scorer_weight == 0.1 and config.mask.recipe == "taught"
    assert config.mask.mask_ratio == 0.75 and config.mask.product_in_use == "none"


def test_its_noise_fades_over_half_of_the_steps_that_are_made(tmp_path: Path) -> None:
    assert load_config(preset(tmp_path), ["stage1.steps=40"]).mask.exploration_steps == 20
    assert load_config(preset(tmp_path), ["mask.recipe=paper"]).mask.exploration_steps == 0


def test_paper_is_what_stands_there_without_a_recipe(tmp_path: Path) -> None:
    """Also to the letter that points of a grid are known by."""
    plain = preset(tmp_path, "{mask_ratio: 0.75}")
    without = load_config(plain).model_dump(mode="json")
    assert load_config(plain, ["mask.recipe=paper"]).model_dump(mode="json") == without
    assert load_config(preset(tmp_path), ["mask.recipe=paper"]).model_dump(mode="json") == without
    assert "recipe" not in without["mask"]


def test_blocks_that_are_fine_by_learned_scores_have_a_recipe_too(tmp_path: Path) -> None:
    config = load_config(preset(tmp_path), ["mask.kind=dual_grain"])
    assert (config.mask.recipe, config.mask.product, config.loss.scorer_weight) == ("taught", "none", 0.1)
    published = load_config(preset(tmp_path), ["mask.kind=dual_grain", "mask.recipe=paper"])
    assert published.mask.product_in_use == "straight_through"  # gates of 1 or 0


@pytest.mark.parametrize("kind", ["random", "variance", "truth", "upside_down", "none"])
def test_masks_that_learn_no_scores_have_no_recipe(tmp_path: Path, kind: str) -> None:
    changes = [f"mask.kind={kind}"] + (["mask.mask_ratio=0"] if kind == "none" else [])
    with_recipe = load_config(preset(tmp_path), changes)
    without = load_config(preset(tmp_path, "{mask_ratio: 0.75}"), changes)
    assert with_recipe == without


def test_what_is_given_stands_and_the_recipe_is_ones_own(tmp_path: Path) -> None:
    config = load_config(preset(tmp_path), ["loss.scorer_weight=0.0", "mask.exploration=2.0"])
    assert config.loss.scorer_weight == 0.0 and config.mask.exploration == 2.0
    assert config.mask.product == "none" and config.mask.recipe == "own"
    given = ["mask.exploration=1.0", "mask.product=none"]  # what it would fill in
    assert load_config(preset(tmp_path), given).mask.recipe == "taught"


@pytest.mark.parametrize(
    "changes", [[], ["loss.scorer_weight=0.0"], ["mask.kind=random"], ["mask.recipe=released"]]
)
def test_a_run_is_read_back_as_it_was(tmp_path: Path, changes: list[str]) -> None:
    """A weight of 0 is not written down, and must not be filled in when it is read."""
    config = load_config(preset(tmp_path), changes)
    save_config(config, tmp_path / "config.yaml")
    back = load_config(tmp_path / "config.yaml")
    assert back.model_copy(update={"preset": config.preset}) == config
    assert config_from_dict(config.model_dump(mode="json")) == config


def test_released_scores_by_convolutions(tmp_path: Path) -> None:
    config = load_config(preset(tmp_path), ["mask.recipe=released"])
    assert (config.mask.scorer, config.mask.scorer_norm, config.mask.product_in_use) == (
        "conv",
        True,
        "score",
    )


@pytest.mark.parametrize("change", ["stage1.steps=many", "stage1=5", "loss=3", "stage1.steps=2.5"])
def test_beside_a_recipe_other_faults_are_told_as_ever(tmp_path: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=change.split("=")[0]):
        load_config(preset(tmp_path), [change])


def test_scores_that_are_taught_may_go_at_a_rate_of_their_own(tmp_path: Path) -> None:
    load_config(preset(tmp_path), ["mask.scorer_rate=0.5"])
    with pytest.raises(ConfigError, match="neither a product with scores nor a loss of their own"):
        load_config(preset(tmp_path), ["mask.scorer_rate=0.5", "loss.scorer_weight=0"])


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mask\.recipe"):
        load_config("shapes32", ["mask.recipe=tought"])
    assert Config().mask.recipe == "paper"
