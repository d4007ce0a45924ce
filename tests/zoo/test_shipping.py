"""Runs become shipped models: files, weights in half precision, and a card that says what a person asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_runs import tiny, write_run

from mvqlab.config import DataConfig
from mvqlab.data import build_splits
from mvqlab.gpu import plan as gpu_plan
from mvqlab.models.mqvae import build_stage1
from mvqlab.training import load_stage1
from mvqlab.zoo import shipped, shipping
from mvqlab.zoo.shipping import (
    Facts,
    ShippingError,
    data_words,
    licence_of,
    planned_facts,
    psnr_over_ratios,
)
from mvqlab.zoo.trained import load_trained


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the shipped models', and one measure in place of all."""
    (tmp_path / "checkpoints").mkdir()
    for module in (shipped, shipping):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "checkpoints")
    monkeypatch.setattr(shipping, "_judged", lambda *_: {"psnr": 20.123456789, "extractor": "none"})
    return tmp_path / "checkpoints"


def write_runs(folder: Path, **names: str) -> None:
    """Tiny runs of both stages under other names, with curves."""
    paths = dict(zip(("stage1", "stage2"), write_run(folder, "classes"), strict=True))
    for part, name in names.items():
        run = paths[part].rename(folder / name)
        rows = {"step": [10, 20, 20], "split": ["train", "train", "validation"], "seconds": [1.0, 71.6, 70.2]}
        pd.DataFrame(rows).to_csv(run / "curves.csv", index=False)


def test_every_run_with_a_place_in_the_plan_is_shipped_stage_1_first(tmp_path: Path, folder: Path) -> None:
    runs = tmp_path / "runs"
    write_runs(runs, stage2="simple_stackformer", stage1="simple_mqvae")
    (runs / "something_else").mkdir()
    done = list(shipping.ship_all(runs, machine="one toy"))
    assert [path.name for path in done] == ["simple_mqvae", "simple_stackformer"]
    assert shipped.shipped_names() == ["simple_mqvae", "simple_stackformer"]
    card = shipped.shipped_card("simple_stackformer")
    assert card["stage1"] == "simple_mqvae" and card["machine"] == "one toy" and card["stage"] == 2
    assert card["seconds"] == 72 and card["metrics"] == {"psnr": 20.12346, "extractor": "none"}
    assert "seconds say little" in card["notes"] and "licence" not in card and "credit" not in card
    weights = load_file(folder / "simple_mqvae" / "weights.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
    shipped.load_shipped_stage2("simple_stackformer")
    with pytest.raises(ShippingError, match=r"no run in .* bears a name in plan\.yaml"):
        list(shipping.ship_all(folder.parent))


def test_a_large_model_is_shipped_in_8_bits_and_its_card_says_so(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "LARGE", 0)
    write_runs(tmp_path / "runs", stage1="simple_mqvae")
    list(shipping.ship_all(tmp_path / "runs"))
    weights = load_file(folder / "simple_mqvae" / "weights.safetensors")
    assert {value.dtype for value in weights.values()} >= {torch.int8, torch.float16}
    assert shipped.shipped_card("simple_mqvae")["weights"].startswith("8 bits")
    shipped.load_shipped_stage1("simple_mqvae")


def test_a_card_names_whose_drawings_were_learned_from(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(tmp_path / "runs", stage1="mine")
    run = tmp_path / "runs" / "mine"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["name"] = "emoji"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    splits = build_splits(tiny("data.train_size=3", "data.validation_size=3").data)
    splits.credit = "Drawings: somebody"
    monkeypatch.setattr(shipping, "build_splits", lambda _: splits)
    monkeypatch.setattr(sys, "argv", ["shipping", str(run), "--purpose", "to try", "--notes", "mirrored"])
    shipping.main()
    card = shipped.shipped_card("mine")
    assert card["credit"] == "Drawings: somebody" and "CC BY-SA 4.0" in card["licence"]
    assert (card["purpose"], card["notes"], card["data"]) == (
        "to try",
        "mirrored",
        "emoji, 16 pixels, 3 images",
    )


def test_a_model_without_a_place_in_the_plan_has_to_say_what_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shipping", str(tmp_path / "nameless")])
    with pytest.raises(SystemExit):
        shipping.main()
    assert "say what it is for with --purpose" in capsys.readouterr().err


def test_the_plan_and_the_cards_of_what_is_shipped_agree() -> None:
    for name in shipped.shipped_names():
        card, facts = shipped.shipped_card(name), planned_facts(name)
        assert facts is not None, name
        assert (facts.purpose, facts.stage1) == (card["purpose"], card.get("stage1"))
    assert planned_facts("nothing") is None


def test_the_plan_names_a_transformer_after_its_stage_1() -> None:
    plan = list(yaml.safe_load(shipping.PLAN.read_text()).items())
    for place, (name, facts) in enumerate(plan):
        stage1 = Facts(**facts).stage1
        assert stage1 is None or stage1 in dict(plan[:place]), name


def test_what_a_gpu_trains_has_a_place_in_the_plan_with_the_same_stage_1() -> None:
    for planned in gpu_plan.PLAN:
        facts = planned_facts(planned.name)
        assert facts is not None and facts.stage1 == planned.stage1, planned.name


def test_words_on_the_data() -> None:
    simple = DataConfig(name="shapes", scene="simple", resolution=32)
    assert data_words(simple, 7) == "simple shapes, 32 pixels, 7 images"
    assert licence_of(simple) == ""
    mixed = DataConfig(name="mixture", mixture={"emoji": 0.5, "photos": 0.5}, resolution=64)
    assert data_words(mixed, 7) == "mixture of emoji, photos, 64 pixels, 7 images"
    assert "OpenMoji" in licence_of(mixed) and "photographs" in licence_of(mixed)


def test_psnr_is_told_at_several_ratios_where_a_model_serves_them(tmp_path: Path) -> None:
    config = tiny("mask.mask_ratio=[0.0,0.9]")
    splits, model = build_splits(config.data), build_stage1(config).eval()
    found = psnr_over_ratios(model, splits, config)
    assert list(found) == ["psnr_50", "psnr_50_random", "psnr_75", "psnr_75_random"]
    assert all(4.0 < value < 40.0 for value in found.values())
    assert found == psnr_over_ratios(model, splits, config)
    run, _ = write_run(tmp_path, "code_first")
    assert psnr_over_ratios(load_stage1(run), splits, tiny()) == {}


def test_a_transformer_of_a_small_set_is_asked_whether_it_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load_trained(*map(str, reversed(write_run(tmp_path, "classes"))))
    splits = build_splits(trained.config.data)
    monkeypatch.setattr(shipping, "build_extractors", lambda *_: ["judge"])
    for name in ("evaluate_generation", "stage2_columns"):
        monkeypatch.setattr(shipping, name, lambda *_: {})
    monkeypatch.setattr(shipping, "N_SAMPLES", 7)
    looked_at = []
    monkeypatch.setattr(shipping, "possible_copies", lambda images, *_: looked_at.append(len(images)) or {})
    for few in (21, 20):  # there are 20 training images
        monkeypatch.setattr(shipping, "FEW", few)
        shipping._judged(trained.model, trained.stage1, splits, trained.config, pd.DataFrame())
    assert looked_at == [7, 7], "by features, and by pixels"
