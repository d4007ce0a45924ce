"""The judge of classes and the table of what was asked for: exact intervals, toy data, known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from tiny_runs import tiny, write_run
from torch import Tensor

from mvqlab.config import DataConfig, load_config
from mvqlab.data import DataError, PictureDataset, Splits, build_splits
from mvqlab.data.dataset import Picture
from mvqlab.evaluation.attributes import class_asked_for as asked
from mvqlab.evaluation.samples import class_judge as judges
from mvqlab.evaluation.samples.class_judge import (
    ClassJudge,
    ClassNetwork,
    class_judge,
    data_name,
    share_of,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.evaluation.samples.possible_copies import BlurredPixels, possible_copies
from mvqlab.gallery import conditional, kept
from mvqlab.plots import asked_for_over_guidance
from mvqlab.zoo.trained import load_trained

SIMPLE = DataConfig(scene="simple", resolution=32)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judges, "MOST_TRAINING", 300)
    monkeypatch.setattr(judges, "MOST_HELD_OUT", 40)
    monkeypatch.setattr(judges, "STEPS", 2)


def test_the_interval_is_exact() -> None:
    one = share_of(9, 10)
    assert one.share == 0.9
    # Clopper-Pearson: at each end, what was seen or more (or less) has a chance of 2.5 %
    assert binom.sf(8, 10, one.low) == pytest.approx(0.025, abs=1e-6)
    assert binom.cdf(9, 10, one.high) == pytest.approx(0.025, abs=1e-6)
    assert share_of(10, 10).high == 1.0 and share_of(0, 10).low == 0.0
    with pytest.raises(ValueError, match="nothing was asked for"):
        share_of(0, 0)


def test_a_judge_is_trained_once_for_all_runs_and_read_from_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = class_judge(SIMPLE, steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.column == "judge_simple32" and first.on_real.asked == 40
    monkeypatch.setattr(judges, "train_class_network", lambda *_: pytest.fail("it was trained again"))
    # another run's sizes and seed do not make another judge
    again = class_judge(SIMPLE.model_copy(update={"train_size": 5, "seed": 9, "flip": False}), steps=2)
    assert (
        again.name
        == first.name
        == f"judge_simple32 ({first.on_real.share:.1%} right on 40 real held-out images)"
    )
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    assert torch.equal(first(images), again(images))


class Flat(PictureDataset):
    """Squares of two greys, a little uneven; the class is which."""

    def picture(self, index: int) -> Picture:
        noise = np.random.default_rng(index).integers(0, 40, (3, 32, 32), dtype=np.uint8)
        return Picture(noise + np.uint8(100 * (index % 2)), index % 2)


def test_a_judge_learns_what_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "BATCH_SIZE", 16)
    splits = Splits(Flat(64, 32), Flat(30, 32), ["dark", "light"], "grey", "flat")
    monkeypatch.setattr(judges, "build_splits", lambda _: splits)
    assert class_judge(SIMPLE, steps=30).on_real.share == 1.0


def test_images_of_any_size_and_kind_are_judged_alike() -> None:
    torch.manual_seed(0)
    judge = ClassJudge(ClassNetwork(4), "judge_test", list("abcd"), share_of(1, 2))
    pixels = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    answers = judge(pixels)
    assert torch.equal(judge(pixels.float() / 127.5 - 1.0), answers)
    assert torch.equal(judge(pixels.repeat_interleave(2, -1).repeat_interleave(2, -2)), answers)
    assert judge.right(pixels, answers).share == 1.0
    assert judge.right(pixels, (answers + 1) % 4).right == 0


def test_data_without_classes_have_no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = build_splits(SIMPLE.model_copy(update={"train_size": 2, "validation_size": 2}))
    splits.class_names = []
    monkeypatch.setattr(judges, "build_splits", lambda _: splits)
    with pytest.raises(DataError, match="no classes"):
        class_judge(SIMPLE)


def test_data_are_named_in_one_word() -> None:
    assert data_name(SIMPLE) == "simple32"
    assert data_name(DataConfig(resolution=64)) == "shapes64"
    assert data_name(DataConfig(name="torchvision", set="CIFAR10", resolution=32)) == "CIFAR1032"


class OneClass(ClassJudge):
    """Says 3, whatever it sees."""

    def __init__(self) -> None:
        super().__init__(ClassNetwork(8), "judge_test", list("abcdefgh"), share_of(30, 40))

    def forward(self, images: Tensor, batch_size: int = 256) -> Tensor:
        return torch.full((len(images),), 3)


def test_a_table_has_a_row_a_weight_and_each_class_is_asked_for_as_often(tmp_path: Path) -> None:
    trained = load_trained(*map(str, reversed(write_run(tmp_path, "classes"))))
    parts = trained.model, trained.stage1, trained.config
    table = asked.class_asked_for(*parts, OneClass(), guidance=(1.0, 2.0), n_samples=16)
    assert table["guidance"].tolist() == [1.0, 2.0]
    assert set(table["measure"]) == {"class_right_judge_test"}
    assert (table["right"] == 2).all() and (table["asked"] == 16).all()
    assert table["of_real"].tolist() == pytest.approx([0.125 / 0.75] * 2)
    of_class_3 = sum(item["label"] == 3 for item in held_out(trained.config.data))
    assert table["restored_share"].iloc[0] == of_class_3 / 40
    with pytest.raises(ValueError, match="takes no class"):
        free = load_trained(*map(str, reversed(write_run(tmp_path / "free", "code_first"))))
        asked.class_asked_for(free.model, free.stage1, free.config, OneClass())


def held_out(data: DataConfig) -> list[dict]:
    dataset = judges.whole_splits(data).validation
    return [dataset[index] for index in range(len(dataset))]


def test_samples_are_drawn_without_filters_and_with_both_guided() -> None:
    config = tiny("sampling.code_top_k=5", "sampling.position_top_p=0.5")
    drawing = asked.drawing_with(config, 1.5, 7)
    assert drawing.evaluation.samples == 7
    sampling = drawing.sampling
    assert (sampling.code_guidance, sampling.position_guidance) == (1.5, 1.5)
    assert (sampling.code_top_k, sampling.code_top_p, sampling.position_top_k, sampling.position_top_p) == (
        0,
        1.0,
        0,
        1.0,
    )


def rows(model: str, share: float, measure: str = "class_right_judge_test") -> pd.DataFrame:
    table = pd.DataFrame(
        [{"guidance": weight, **share_of(round(share * 100), 100)._asdict()} for weight in (1.0, 2.0)]
    )
    told = {"measure": measure, "of_real": share, "real_share": 1.0, "real_asked": 9, "restored_share": 0.9}
    return table.assign(**told, judge="a judge", model=model)


def test_one_model_measured_anew_leaves_the_rows_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {"one": 0.5, "two": 0.6}
    monkeypatch.setattr(conditional, "conditional_models", lambda: list(shares))
    monkeypatch.setattr(conditional, "asked_for", lambda name, *_: rows(name, shares[name]))
    paths = kept.make("class_asked_for", tmp_path)
    assert [path.name for path in paths] == ["class_asked_for.csv", "class_asked_for.png"]
    shares["two"] = 0.7
    kept.make("class_asked_for", tmp_path, "two")
    table = pd.read_csv(paths[0])
    assert table.groupby("model")["share"].first().to_dict() == {"one": 0.5, "two": 0.7}
    assert len(table) == 4


def test_the_figure_has_a_panel_a_measure_and_a_line_a_model() -> None:
    table = pd.concat([rows("one", 0.5), rows("two", 0.9), rows("three", 0.7, "colour_and_shape_detector")])
    figure = asked_for_over_guidance(table)
    labels = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert labels[0] == ["real images", "real, after its stage 1", "one", "two"] and "three" in labels[1]


def test_what_is_told_a_class_or_the_caption_of_a_simple_scene_can_be_judged() -> None:
    names = conditional.conditional_models()
    assert {"fashion_stackformer", "fashion_raster", "simple_stackformer", "simple_captions"} <= set(names)
    assert not {"fashion_mqvae", "emoji_mqvae"} & set(names)


class Pixels(FeatureExtractor):
    def __init__(self) -> None:
        super().__init__("pixels", "test", 3 * 16 * 16)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


def test_copies_are_found_also_where_they_are_mirrored() -> None:
    splits = build_splits(DataConfig(resolution=16, train_size=12, validation_size=12))
    splits.train.flip = True
    copies = torch.stack([torch.from_numpy(splits.train.remembered(n).pixels) for n in range(12)])
    columns = possible_copies(copies.flip(-1), splits, Pixels())
    assert columns["suspected_test"] == 1.0 and columns["suspected_images"] == 12
    fresh = build_splits(DataConfig(resolution=16, train_size=2, validation_size=60, seed=5)).validation
    others = torch.stack([torch.from_numpy(fresh.remembered(n).pixels) for n in range(60)])
    assert possible_copies(others, splits, Pixels())["suspected_test"] < 0.3


def test_a_copy_with_noise_on_it_is_found_by_its_blurred_pixels() -> None:
    splits = build_splits(DataConfig(resolution=32, train_size=12, validation_size=40))
    copies = torch.stack([torch.from_numpy(splits.train.remembered(n).pixels) for n in range(12)]).float()
    noise = 12.0 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(0))
    noisy = (copies + noise).clamp(0.0, 255.0).byte()
    columns = possible_copies(noisy, splits, BlurredPixels())
    assert columns["suspected_pixels"] == 1.0
    assert BlurredPixels()(noisy).shape == (12, BlurredPixels().num_features)
    fresh = build_splits(DataConfig(resolution=32, train_size=2, validation_size=40, seed=5)).validation
    others = torch.stack([torch.from_numpy(fresh.remembered(n).pixels) for n in range(40)])
    assert possible_copies(others, splits, BlurredPixels())["suspected_pixels"] < 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_no_judge_takes_for_held_out_what_a_run_has_learned_from(seed: int) -> None:
    data = load_config("emoji64", [f"data.seed={seed}"]).data
    whole, own = judges.whole_splits(data), build_splits(data)
    names = [{dataset.caption(n) for n in range(len(dataset))} for dataset in (whole.validation, own.train)]
    assert names[0] and not names[0] & names[1]


def test_drawn_scenes_have_one_judge_for_all_seeds() -> None:
    scenes = [load_config("simple32", [f"data.seed={seed}"]).data for seed in (0, 1)]
    assert len({judges.whole_splits(data).data_hash for data in scenes}) == 1
