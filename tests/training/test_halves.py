"""Cross-fitted halves: one set of images in two parts, each of which trains once and is held out once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import torch
from PIL import Image
from torch import Tensor

from mvqlab.config import Config, load_config, stage1_settings
from mvqlab.data import DataError, build_splits
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.pairs import Pairs
from mvqlab.training import CheckpointError, load_stage2, tokenise, train_stage2
from mvqlab.training.origin import load_origin
from mvqlab.training.run_settings import load_settings
from mvqlab.training.stage2_data import Tokens, cross_fitted
from mvqlab.training.tokens import TokenSet

FIRST, SECOND = "stage2.half=first", "stage2.half=second"


def tiny(*changes: str) -> Config:
    return tiny_runs.tiny("evaluation.images=100", *changes)


def numbered(n: int) -> TokenSet:
    """n images of two pairs, each its own number's: in codes and conditions."""
    codes = torch.arange(n)[:, None].expand(n, 2).contiguous()
    return TokenSet(Pairs(codes, torch.zeros_like(codes), side=4), torch.arange(n))


def halves_of(n: int, *changes: str) -> list[Tensor]:
    """The images that train and that are held out, of the first half and of its twin."""
    twins = [cross_fitted(Tokens(numbered(n), numbered(3)), tiny(half, *changes)) for half in (FIRST, SECOND)]
    for part in (part for twin in twins for part in twin):
        assert torch.equal(part.pairs.codes[:, 0], part.conditions)  # an image keeps its condition
    return [part.conditions for twin in twins for part in twin]


@pytest.mark.parametrize("n", [2, 20, 21])
def test_one_twin_trains_on_what_the_other_holds_out_and_together_they_are_the_set(n: int) -> None:
    learned, held_out, learned_by_twin, held_out_by_twin = halves_of(n)
    assert torch.equal(learned, held_out_by_twin) and torch.equal(held_out, learned_by_twin)
    assert sorted([*learned.tolist(), *held_out.tolist()]) == list(range(n))
    assert abs(len(learned) - len(held_out)) == n % 2


def test_which_half_an_image_is_in_hangs_on_the_seed_of_the_data_alone() -> None:
    first = halves_of(20)[0].tolist()
    assert halves_of(20, "seed=7", "transformer.width=32", "mask.mask_ratio=0.25")[0].tolist() == first
    assert halves_of(20, "data.seed=1")[0].tolist() != first and first != list(range(10))


def test_as_many_are_held_out_as_evaluation_takes_and_all_others_train() -> None:
    learned, held_out, *_ = halves_of(20, "evaluation.images=4")
    assert len(learned) == 10 and len(held_out) == 4


def test_one_image_makes_no_halves() -> None:
    with pytest.raises(DataError, match=r"stage2\.half"):
        halves_of(1)


def folder_with_captions(root: Path) -> list[str]:
    """Seven images with a caption each, and the settings that read them."""
    (root / "images").mkdir(parents=True)
    rows = ["file,caption"]
    for number in range(7):
        name = f"{number}.png"
        Image.new("RGB", (16, 16), (30 * number, 200 - 20 * number, 90)).save(root / "images" / name)
        rows.append(f"{name},picture {'abcdefg'[number]}")
    (root / "captions.csv").write_text("\n".join(rows))
    return [
        "data.name=folder",
        f"data.root={root / 'images'}",
        f"data.captions={root / 'captions.csv'}",
        "data.validation_share=0.2",
        "transformer.condition=caption",
    ]


@pytest.mark.parametrize("source", ["shapes", "emoji", "mixture", "captions"])
def test_twins_hold_out_each_others_images_whatever_the_data(source: str, tmp_path: Path) -> None:
    data = {
        "shapes": ["transformer.condition=class"],
        "emoji": ["data.name=emoji", "transformer.condition=class"],
        "mixture": ["data.name=mixture", "data.mixture={emoji: 1, shapes: 1}", "transformer.condition=class"],
    }
    changes = folder_with_captions(tmp_path / "data") if source == "captions" else data[source]
    splits = build_splits(tiny(*changes).data)
    stage1 = build_stage1(tiny(*changes)).eval()
    losses = {}
    for half in (FIRST, SECOND):
        config = tiny(half, *changes, "transformer.condition_dropout=0", "stage2.log_every=1")
        train_stage2(config, stage1, tmp_path / half, splits=splits)
        losses[half] = pd.read_csv(tmp_path / half / "curves.csv").query("split == 'validation'").iloc[-1]
        assert load_origin(tmp_path / half).n_images in (len(splits.train) // 2, -(-len(splits.train) // 2))
    model = load_stage2(tmp_path / FIRST, stage1)
    pool = tokenise(stage1, splits.train)
    twin = cross_fitted(Tokens(pool, pool), tiny(SECOND, *changes))
    if source == "shapes":  # the held-out loss is that of the images that the twin learned
        with torch.no_grad():
            held_out = model.loss(twin.train.pairs, twin.train.conditions)
        assert losses[FIRST]["code_loss"] == pytest.approx(float(held_out.codes), rel=1e-5)
    assert losses[FIRST]["code_loss"] != losses[SECOND]["code_loss"]


def test_a_run_goes_on_with_its_own_half_alone(tmp_path: Path) -> None:
    config = tiny(FIRST)
    splits, stage1 = build_splits(config.data), build_stage1(config).eval()
    train_stage2(config, stage1, tmp_path, splits=splits)
    assert load_settings(tmp_path).stage2.half == "first"
    train_stage2(
        tiny(FIRST, "stage2.steps=4", "stage2.cosine=true"), stage1, tmp_path, splits=splits, resume=True
    )
    for other in ([SECOND], []):
        with pytest.raises(CheckpointError, match=r"stage2\.half: was first, now (second|None)"):
            train_stage2(tiny(*other, "stage2.steps=4"), stage1, tmp_path, splits=splits, resume=True)


def test_settings_without_halves_are_written_as_ever() -> None:
    """Points of grids and shared trainings are known by what is written."""
    config = load_config("simple32")
    assert "half" not in config.model_dump(mode="json")["stage2"] and "half" not in config.stage2.model_dump()
    assert load_config("simple32", [FIRST]).model_dump(mode="json")["stage2"]["half"] == "first"
    assert stage1_settings(load_config("simple32", [FIRST])) == stage1_settings(config)  # twins share theirs
