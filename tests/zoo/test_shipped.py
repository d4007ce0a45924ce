"""The models that come with mvqlab: they load, belong together, and their cards say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import write_run

from mvqlab.data import build_splits
from mvqlab.evaluation import collect_held_out, reconstruction_quality
from mvqlab.models.caption_tokenizer import load_caption_tokenizer
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.models.transformers import n_parameters
from mvqlab.sampling import sample_pairs
from mvqlab.training import load_settings
from mvqlab.zoo import exported, hub
from mvqlab.zoo.shipped import (
    FOLDER,
    ShippedError,
    load_shipped_stage1,
    load_shipped_stage2,
    load_stage1_named,
    shipped_card,
    shipped_config,
    shipped_curves,
    shipped_folder,
    shipped_names,
    stage1_or_run,
)
from mvqlab.zoo.trained import load_trained

STAGE1 = [name for name in shipped_names() if shipped_card(name)["stage"] == 1]
STAGE2 = [name for name in shipped_names() if shipped_card(name)["stage"] == 2]


def test_they_are_all_there_and_small() -> None:
    assert {"emoji_mqvae", "anything_mqvae"} <= set(STAGE1)
    for data in ("fashion", "simple"):
        assert {f"{data}_mqvae", f"{data}_plain_vq"} <= set(STAGE1)
        assert {f"{data}_stackformer", f"{data}_raster"} <= set(STAGE2)
    assert {"emoji_stackformer", "simple_captions"} <= set(STAGE2)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert size < 30e6


@pytest.mark.parametrize("name", shipped_names())
def test_a_card_says_what_was_trained_on_what_for_how_long_and_how_good_it_is(name: str) -> None:
    card, config = shipped_card(name), shipped_config(name)
    assert card["purpose"] and card["made_with"]["git_commit"] and card["metrics"]
    stage = config.stage1 if card["stage"] == 1 else config.stage2
    assert (card["steps"], card["seed"]) == (stage.steps, config.seed)
    assert card["data_hash"] == build_splits(config.data).data_hash
    curves = shipped_curves(name)
    assert curves["step"].max() == card["steps"]
    assert card["seconds"] == pytest.approx(curves["seconds"].max(), abs=0.51)
    model = load_shipped_stage1(name) if card["stage"] == 1 else load_shipped_stage2(name)
    assert n_parameters(model) == card["parameters"] and not model.training


@pytest.mark.parametrize("name", STAGE1)
def test_a_model_of_all_ratios_says_how_good_it_is_at_several_and_beside_random_masks(name: str) -> None:
    metrics, (fewest, most) = shipped_card(name)["metrics"], shipped_config(name).mask.ratio_range
    ratios = {column for column in metrics if column.startswith("psnr_")}
    if fewest == most:
        assert not ratios
    else:
        assert ratios == {"psnr_50", "psnr_50_random", "psnr_75", "psnr_75_random"}
        assert metrics["psnr_50"] > metrics["psnr_75"] > metrics["psnr_75_random"]


@pytest.mark.parametrize("name", shipped_names())
def test_whose_drawings_and_photographs_were_learned_from_is_told(name: str) -> None:
    card, data = shipped_card(name), shipped_config(name).data
    learned_from_others = {"emoji", "photos", "fashion"} & {data.name, *(data.mixture or {})}
    assert bool(learned_from_others) == ("credit" in card)
    assert ("emoji" in learned_from_others) == ("CC BY-SA 4.0" in card.get("licence", ""))


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGE1)
def test_images_come_back_as_well_as_the_card_says(name: str) -> None:
    config = shipped_config(name)
    splits = build_splits(config.data)
    quality = reconstruction_quality(collect_held_out(load_shipped_stage1(name), splits, config))
    assert quality["psnr"] == pytest.approx(shipped_card(name)["metrics"]["psnr"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGE2)
def test_samples_decode_with_the_stage_1_on_the_card(name: str) -> None:
    model, stage1 = load_shipped_stage2(name), load_shipped_stage1(shipped_card(name)["stage1"])
    told, side = None, stage1.config.data.resolution
    if isinstance(model.start, ClassStart):
        told = torch.tensor([0, model.start.n_classes - 1])
    elif isinstance(model.start, CaptionStart):
        told = torch.ones(2, shipped_config(name).transformer.caption_length).long()
    pairs = sample_pairs(model, 2, generator=torch.Generator().manual_seed(0), conditions=told)
    with torch.no_grad():
        images = stage1.decode(pairs)
    assert images.shape == (2, 3, side, side) and images.isfinite().all()
    assert images.std() > 0.02


def test_equal_parameters_and_equal_compute_where_two_are_compared() -> None:
    raster, stackformer = shipped_card("fashion_raster"), shipped_card("fashion_stackformer")
    assert raster["seconds"] == pytest.approx(stackformer["seconds"], rel=0.1)
    assert raster["parameters"] == pytest.approx(stackformer["parameters"], rel=0.03)


@pytest.mark.parametrize("name", [name for name in STAGE2 if name.endswith("_captions")])
def test_the_tokenizer_lies_beside_a_model_of_captions(name: str) -> None:
    tokenizer = load_caption_tokenizer(shipped_folder(name))
    settings = shipped_config(name).transformer
    assert tokenizer.length == settings.caption_length
    assert tokenizer.vocabulary_size <= settings.vocabulary_size
    assert "red" in tokenizer.known_words


def test_what_is_not_there_is_said_with_what_is() -> None:
    with pytest.raises(
        ShippedError, match=r"no model 'vqgan' comes with mvqlab: there are anything_mqvae, emoji_mqvae"
    ):
        load_shipped_stage1("vqgan")
    with pytest.raises(ShippedError, match="'fashion_raster' is a model of stage 2, not of stage 1"):
        load_shipped_stage1("fashion_raster")


def test_a_bare_name_is_the_shipped_model_and_a_path_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one rule for all who take either: `load_stage1_named` took the folder, `load_trained` did not."""
    monkeypatch.chdir(tmp_path)
    of_stage1, of_stage2 = write_run(tmp_path, "classes")
    of_stage1.rename("fashion_mqvae")
    of_stage2.rename("fashion_stackformer")
    side = shipped_config("fashion_mqvae").data.resolution
    tiny = load_settings(Path("fashion_mqvae")).data.resolution
    assert side != tiny
    assert load_stage1_named("fashion_mqvae").config.data.resolution == side
    assert load_stage1_named("./fashion_mqvae").config.data.resolution == tiny
    assert load_trained("fashion_stackformer").folder == shipped_folder("fashion_stackformer")
    own = load_trained("./fashion_stackformer", "./fashion_mqvae")
    assert own.config.data.resolution == tiny
    assert exported._loaded("fashion_mqvae", None)[1].data.resolution == side
    assert exported._loaded("./fashion_mqvae", None)[1].data.resolution == tiny
    assert hub._sources("fashion_mqvae", None) == {"stage1": shipped_folder("fashion_mqvae")}
    assert stage1_or_run("fashion_mqvae") == STAGE1
    assert stage1_or_run("./fashion_mqvae") == [*STAGE1, "./fashion_mqvae"]


def test_no_card_names_a_path_of_a_machine() -> None:
    for path in FOLDER.rglob("*.yaml"):
        assert not any(str(place) in path.read_text() for place in (Path.home(), Path("/tmp")))
