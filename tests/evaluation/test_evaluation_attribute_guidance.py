"""Tables of attributes over guidance: what is asked for, drawn with which weights, and the figure of it."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from listener import N_CLASSES, Onlooker, listener, share_right
from tiny_runs import tiny
from torch import Tensor

from mvqlab import plots
from mvqlab.config import Config
from mvqlab.data import DataError, Splits, batches_in_order, build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.data.shapes import ATTRIBUTES
from mvqlab.evaluation.attributes import guidance as attribute_guidance
from mvqlab.evaluation.attributes.agreement import JUDGED, Values, agreement, asked_of
from mvqlab.evaluation.attributes.detector import AttributeDetector
from mvqlab.evaluation.attributes.guidance import accuracy_over_guidance
from mvqlab.evaluation.attributes.network import AttributeNetwork
from mvqlab.evaluation.images.reconstruction import collect
from mvqlab.models.caption_tokenizer import train_caption_tokenizer
from mvqlab.models.mqvae import TokenModel, build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.sampling import Samples
from mvqlab.training import build_transformer

N_IMAGES = 12
PARTS = ("codes and positions", "codes", "positions")


def settings(condition: str, *overrides: str, samples: int = N_IMAGES) -> Config:
    return tiny(
        "data.validation_size=16",
        "transformer.vocabulary_size=512",
        "transformer.caption_length=32",
        f"transformer.condition={condition}",
        f"evaluation.samples={samples}",
        *overrides,
    )


def models(config: Config, splits: Splits) -> tuple[PairModel, TokenModel]:
    torch.manual_seed(0)
    stage1 = build_stage1(config).eval()
    return build_transformer(config, stage1, splits.n_classes).eval(), stage1


class Guesser(AttributeDetector):
    """Finds what the pixels' mean decides: the same in the same picture, something else in another."""

    def forward(self, images: Tensor, batch_size: int = 256) -> Values:
        means = to_uint8(images).double().mean((1, 2, 3))
        sizes = {name: one.shape[1] for name, one in asked_of([]).items()}
        return {
            name: torch.sin(999.0 * torch.outer(means, torch.arange(1, n + 1).double())) > 0
            for name, n in sizes.items()
        }


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> AttributeDetector:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    return Guesser(AttributeNetwork(), 0, dict.fromkeys(JUDGED, 0.9))


class Recorder:
    """Stands for sampling: gives the held-out scenes' own pictures, and keeps what it was asked for."""

    def __init__(self, splits: Splits) -> None:
        self.images = torch.stack([splits.validation[index]["image"] for index in range(N_IMAGES)])
        self.weights: list[tuple[float, float]] = []
        self.conditions: list[Tensor] = []

    def __call__(self, model: PairModel, stage1: TokenModel, config: Config, conditions: Tensor) -> Samples:
        assert config.evaluation.samples == N_IMAGES
        self.weights.append((config.sampling.code_guidance, config.sampling.position_guidance))
        self.conditions.append(conditions)
        return Samples(self.images, None, 1.0)


def test_a_detector_judges_the_kind_of_scenes_that_it_learned(detector: AttributeDetector) -> None:
    """Guards against accuracies that are low because the judge never saw a light ground."""
    config = settings("class", "data.scene=simple")
    splits = build_splits(config.data)
    with pytest.raises(DataError, match=r"learned full scenes.*attribute_detector\(scene='simple'\)"):
        accuracy_over_guidance(*models(config, splits), config, splits, detector)
    detector.scene = "simple"
    table = accuracy_over_guidance(
        *models(config, splits), config, splits, detector, guidance=(1.0,), guided=PARTS[:1]
    )
    assert list(table["asked"]) == [N_IMAGES]


def test_each_part_is_guided_by_itself_and_nothing_is_drawn_twice(
    detector: AttributeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("class")
    splits = build_splits(config.data)
    sampling = Recorder(splits)
    monkeypatch.setattr(attribute_guidance, "sample_images", sampling)
    table = accuracy_over_guidance(
        *models(config, splits), config, splits, detector, guidance=(0.0, 1.0, 3.0), guided=PARTS
    )
    assert sampling.weights == [
        (0.0, 0.0), (1.0, 1.0), (3.0, 3.0), (0.0, 1.0), (3.0, 1.0), (1.0, 0.0), (1.0, 3.0),
    ]  # fmt: skip
    assert list(zip(table["guided"], table["guidance"], strict=True)) == [
        (part, weight) for part in PARTS for weight in (0.0, 1.0, 3.0)
    ]
    assert set(table["attribute"]) == {"class"}
    labels = [splits.validation[index]["label"] for index in range(N_IMAGES)]
    assert sampling.conditions[0].tolist() == labels
    # the pictures "drawn" are the real ones, asked for by their own labels: as good as real
    assert table["accuracy"].tolist() == table["real_accuracy"].tolist()
    assert (table["judge_accuracy"] == 0.9).all() and set(table["judge"]) == {detector.name}
    assert (table["precision"] * table["seen"]).tolist() == pytest.approx(table["found"].tolist())
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["accuracy_high"]).all()


def test_captions_ask_for_all_that_they_name(
    detector: AttributeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("caption")
    splits = build_splits(config.data)
    captions = [splits.validation.caption(index) for index in range(N_IMAGES)]
    tokenizer = train_caption_tokenizer(captions, 512, 32)
    sampling = Recorder(splits)
    monkeypatch.setattr(attribute_guidance, "sample_images", sampling)
    some = models(config, splits)
    table = accuracy_over_guidance(
        *some, config, splits, detector, guidance=(1.0,), tokenizer=tokenizer
    ).set_index("attribute")
    assert list(table.index) == ["count", *ATTRIBUTES, "colour and shape"]
    assert torch.equal(sampling.conditions[0], tokenizer.encode(captions))
    scenes = [splits.validation.scene(index) for index in range(N_IMAGES)]
    assert table["asked"]["count"] == N_IMAGES
    assert table["asked"]["colour"] == sum(len({one.colour for one in scene.attributes}) for scene in scenes)
    batches = batches_in_order(splits.validation, N_IMAGES, N_IMAGES)
    restored, asked = detector(collect(some[1], batches).reconstructions), asked_of(scenes)
    expected = [agreement(asked[name], restored[name]).accuracy for name in table.index]
    assert table["restored_accuracy"].tolist() == expected != table["real_accuracy"].tolist()
    with pytest.raises(ValueError, match="needs its tokenizer"):
        accuracy_over_guidance(*some, config, splits, detector)


def test_guidance_towards_the_class_draws_it_as_often_as_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """From conditions to pictures with nothing stood in for but the judge: see `listener`."""
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    n_images, weights = 150, (0.0, 1.0, 3.0)
    sizes = [f"data.validation_size={n_images}", "evaluation.samples=500", "evaluation.batch_size=100"]
    model, stage1 = listener(*sizes)
    splits = build_splits(stage1.config.data)
    table = accuracy_over_guidance(
        model, stage1, stage1.config, splits, Onlooker(stage1), guidance=weights, guided=PARTS
    )
    assert (table["asked"] == n_images).all(), "there are no more held-out scenes"
    found = table.set_index(["guided", "guidance"])["accuracy"]
    for weight in weights:
        share = share_right(weight)
        far = 4 * math.sqrt(share * (1 - share) / n_images)
        for part in PARTS[:2]:
            assert found[part, weight] == pytest.approx(share, abs=far)
        assert found["positions", weight] == found["codes", 1.0], "raster draws no positions to guide"
    told = table.query("guidance == 3 and guided == 'codes'").iloc[0]
    assert told["chance"] == pytest.approx(1 / N_CLASSES, abs=0.06), "of conditions dealt out anew"


def test_what_cannot_be_judged_is_said_before_anything_is_drawn(
    detector: AttributeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute_guidance, "sample_images", lambda *_: pytest.fail("drew images"))
    monkeypatch.setattr(attribute_guidance, "collect", lambda *_: pytest.fail("ran stage 1"))
    config = settings("none")
    splits = build_splits(config.data)
    with pytest.raises(ValueError, match="cannot be asked"):
        accuracy_over_guidance(*models(config, splits), config, splits, detector)
    never = settings("class", "transformer.condition_dropout=0")
    with pytest.raises(ValueError, match="condition_dropout was 0"):
        accuracy_over_guidance(*models(never, splits), never, splits, detector)
    photographs = Splits(None, None, [], "", "")
    with pytest.raises(DataError, match="drawn scenes"):
        accuracy_over_guidance(*models(never, splits), never, photographs, detector)


def table_of(attributes: list[str]) -> pd.DataFrame:
    rows = [
        {
            "guided": part, "guidance": weight, "attribute": attribute, "accuracy": 0.4 + 0.1 * weight,
            "accuracy_low": 0.3 + 0.1 * weight, "accuracy_high": 0.45 + 0.1 * weight, "chance": 0.2,
            "real_accuracy": 0.9, "restored_accuracy": 0.8, "judge": "detector X",
        }
        for attribute in attributes for part in PARTS[:2] for weight in (2.0, 0.0, 1.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n", [1, 5])
def test_the_figure_has_a_panel_an_attribute_with_ceilings_and_chance(n: int) -> None:
    names = ["class", "count", "shape", "texture", "colour"][:n]
    figure = plots.guidance_lines(table_of(names), "title")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == names
    for axis in shown:
        levels = [line.get_ydata()[0] for line in axis.lines if len(set(line.get_ydata())) == 1]
        assert levels == [0.9, 0.8, 0.2, 0.2]
        rising = [line for line in axis.lines if len(line.get_ydata()) == 3 and line.get_ydata()[0] == 0.4]
        assert [list(line.get_ydata()) for line in rising] == [pytest.approx([0.4, 0.5, 0.6])] * 2
        assert rising[0].get_linestyle() != rising[1].get_linestyle()
        assert rising[0].get_marker() != rising[1].get_marker()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"real pictures", "real, after stage 1", "guided: codes"} <= set(words)
    assert "detector X" in figure.get_supxlabel()


def test_what_all_images_were_asked_for_alike_has_no_panel() -> None:
    table = table_of(["colour", "count"])
    alike = table["attribute"] == "count"
    table.loc[alike, "chance"] = table.loc[alike, "accuracy"]
    panels = [axis.get_title() for axis in plots.guidance_lines(table, "title").axes if axis.get_visible()]
    assert panels == ["colour"]
