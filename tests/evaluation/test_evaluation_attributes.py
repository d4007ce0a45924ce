"""What is asked for is what captions say; what is found is what cells say; chance and intervals are known."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvqlab.data.shapes import ATTRIBUTES, MAX_OBJECTS, ShapesDataset, caption_of
from mvqlab.evaluation.attributes import detector as detectors
from mvqlab.evaluation.attributes.agreement import JUDGED, agreement, asked_of, found_in
from mvqlab.evaluation.attributes.detector import AttributeDetector, attribute_detector
from mvqlab.evaluation.attributes.network import (
    SIDE,
    AttributeNetwork,
    Cells,
    DrawnScenes,
    cells_loss,
    centre_shares,
    drawn,
)
from mvqlab.results.reference import reference_table

N = 200
DATASET = ShapesDataset(N, 32, 3, "validation")
SCENES = [DATASET.scene(index) for index in range(N)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))


def true_cells(of: DrawnScenes) -> Cells:
    """What a perfect network would say: the shares of the objects, as logits."""
    shares = of.shares.clamp(1e-6, 1 - 1e-6)
    values = {}
    for name in ATTRIBUTES:
        one_hot = torch.nn.functional.one_hot(of.values[name], len(ATTRIBUTES[name])).float()
        values[name] = (torch.einsum("bol,bon->bln", of.shares, one_hot) + 1e-9).log()
    return Cells(of.shares.sum(1).clamp(1e-6, 1 - 1e-6).logit(), shares[:, 0].log(), values)


def test_what_is_asked_for_is_what_the_caption_says() -> None:
    """Guards the one place of wording: what is judged must be what the model read."""
    asked = asked_of(SCENES)
    for row, scene in enumerate(SCENES):
        objects = re.split(r", | and ", caption_of(scene.descriptions))
        words = [phrase.split()[1:] for phrase in objects]
        assert asked["count"][row].nonzero().item() + 1 == len(objects)
        assert named(asked["class"][row], "shape") == {words[0][-1]}
        assert named(asked["shape"][row], "shape") == {these[-1] for these in words}
        assert named(asked["size"][row], "size") == {
            "small" if "small" in these else "large" for these in words
        }
        colours = [next(word for word in these if word in ATTRIBUTES["colour"]) for these in words]
        assert named(asked["colour"][row], "colour") == set(colours)
        textures = [
            next((word for word in these if word in ATTRIBUTES["texture"]), "plain") for these in words
        ]
        assert named(asked["texture"][row], "texture") == set(textures)
        bound = {
            (ATTRIBUTES["colour"][place // 8], ATTRIBUTES["shape"][place % 8])
            for place in asked["colour and shape"][row].nonzero().flatten().tolist()
        }
        assert bound == set(zip(colours, (these[-1] for these in words), strict=True))


def named(is_asked: Tensor, attribute: str) -> set[str]:
    return {ATTRIBUTES[attribute][place] for place in is_asked.nonzero().flatten().tolist()}


@given(x=st.floats(0.1, 0.9), y=st.floats(0.1, 0.9))
def test_shares_of_a_centre_are_one_together_and_balance_at_it(x: float, y: float) -> None:
    shares = centre_shares(x, y).view(SIDE, SIDE)
    middles = (torch.arange(SIDE) + 0.5) / SIDE
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert (shares > 0).sum() <= 4
    assert float((shares.sum(0) * middles).sum()) == pytest.approx(x, abs=1e-5)  # columns are across
    assert float((shares.sum(1) * middles).sum()) == pytest.approx(y, abs=1e-5)


def test_a_perfect_network_finds_what_is_asked_for() -> None:
    """Guards the way from cells to values, and the order of objects, values and pairs along it."""
    found, asked = found_in(true_cells(drawn(SCENES))), asked_of(SCENES)
    assert set(found) == set(asked) == set(JUDGED)
    for name in JUDGED:
        assert found[name].shape == asked[name].shape
        is_same = (found[name] == asked[name]).all(dim=1)
        # where objects touch they share cells, and a cell has one look
        assert is_same.float().mean() > (0.9 if name == "colour and shape" else 0.97), name


def test_the_loss_is_least_at_the_truth() -> None:
    """Guards that the loss asks for what `found_in` reads: at the truth its gradient is zero."""
    of = drawn(SCENES[:20])
    cells = true_cells(of)
    logits = [cells.is_centre, cells.is_largest, *cells.values.values()]
    for one in logits:
        one.requires_grad_()
    cells_loss(cells, of.shares, of.values).backward()
    assert max(float(one.grad.abs().max()) for one in logits) < 1e-5
    worse = cells._replace(is_centre=cells.is_centre + 0.5)
    assert cells_loss(worse, of.shares, of.values) > cells_loss(cells, of.shares, of.values)


def test_agreement_counts_values_and_its_chance_is_that_of_other_images() -> None:
    asked = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 0, 0]]).bool()
    found = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 1]]).bool()
    result = agreement(asked, found)
    assert (result.asked, result.found, result.accuracy) == (4, 2, 0.5)
    assert (result.seen, result.precision) == (4, 0.5)
    # of a, b (asked in 1) b is in 3; c (asked in 2) is in 3; a (asked in 3) is in 1
    assert result.chance == pytest.approx(3 / (4 * 2))
    # Clopper and Pearson: at the lower end, two or more of four are found once in 40 times
    p = result.low
    assert sum(math.comb(4, n) * p**n * (1 - p) ** (4 - n) for n in (2, 3, 4)) == pytest.approx(0.025)
    assert result.high == pytest.approx(1 - p)


def test_images_that_ignore_what_was_asked_for_score_chance() -> None:
    """The same images whatever is asked: accuracy is chance, also where they show everything."""
    asked = asked_of(SCENES)["colour"]
    everything = torch.ones_like(asked)
    assert agreement(asked, everything).accuracy == agreement(asked, everything).chance == 1.0
    assert agreement(asked, everything).precision == pytest.approx(float(asked.double().mean()))
    assert math.isnan(agreement(asked, torch.zeros_like(asked)).precision)
    others = agreement(asked, asked.roll(1, dims=0))
    assert others.low < others.chance < others.high
    assert math.isnan(agreement(asked[:1], asked[:1]).chance)
    with pytest.raises(ValueError, match="nothing was asked"):
        agreement(torch.zeros_like(asked), asked)


def test_the_detector_is_trained_once_says_how_good_it_is_and_leaves_random_numbers_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detectors, "TESTED_SCENES", 40)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    trained = attribute_detector(2)
    assert torch.equal(torch.rand(3), expected)
    assert set(trained.accuracies) == set(JUDGED)
    assert f"class {trained.accuracies['class']:.1%}" in trained.name and "(2 steps;" in trained.name

    def refuse(*_: object) -> None:
        pytest.fail("trained although there is a cached detector")

    monkeypatch.setattr(detectors, "train_attribute_network", refuse)
    torch.manual_seed(1)
    cached = attribute_detector(2)
    assert torch.equal(torch.rand(3), expected)
    assert cached.accuracies == trained.accuracies and not cached.train().training
    assert not any(parameter.requires_grad for parameter in cached.parameters())
    images = drawn(SCENES[:5]).images
    for name, values in cached(images).items():
        assert torch.equal(values, trained(images)[name])
    for another in ({"steps": 3}, {"steps": 2, "scene": "simple"}):
        with pytest.raises(BaseException, match="trained although"):
            attribute_detector(**another)


def test_any_size_is_seen_at_32_pixels_bytes_or_not_and_less_is_refused() -> None:
    torch.manual_seed(0)
    detector = AttributeDetector(AttributeNetwork(), 0, {})
    images = torch.stack([ShapesDataset(3, 64, 0, "train")[index]["image"] for index in range(3)])
    small = torch.nn.functional.avg_pool2d(images, 2)
    by_size = detector.network(images), detector.network(small)
    torch.testing.assert_close(by_size[0].is_centre, by_size[1].is_centre)
    in_bytes = ((images + 1.0) * 127.5).round().byte()
    for name, values in detector(in_bytes).items():
        assert torch.equal(values, detector(images, batch_size=2)[name])
    with pytest.raises(ValueError, match="32 pixels or more, got 24 x 24"):
        detector(torch.zeros(1, 3, 24, 24))


def test_a_little_training_finds_colours_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the training itself: labels that belong to other pictures or cells teach nothing."""
    monkeypatch.setattr(detectors, "TESTED_SCENES", 300)
    network = detectors.train_attribute_network(60)
    accuracies = detectors.measure_accuracies(AttributeDetector(network, 60, {}))
    assert accuracies["colour"] > 0.5 and accuracies["count"] > 0.6 and accuracies["size"] > 0.85


@pytest.mark.slow
def test_a_quarter_of_the_training_goes_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the way of one attribute keeps it far below this, however long the training."""
    monkeypatch.setattr(detectors, "TESTED_SCENES", 500)
    accuracies = attribute_detector(detectors.STEPS // 4).accuracies
    assert min(accuracies.values()) > 0.72, accuracies
    assert min(accuracies[name] for name in ("count", "colour", "size")) > 0.92, accuracies
    assert len(accuracies) == len(JUDGED) and MAX_OBJECTS == 3


def test_the_detector_of_the_kept_table_was_as_good_as_its_place_as_a_judge_demands() -> None:
    table = reference_table("attributes_over_guidance")
    assert table is not None
    assert set(table["judge"].str.extract(r"\((\d+) steps", expand=False)) == {str(detectors.STEPS)}
    assert set(table["attribute"]) == set(JUDGED) and table["judge_accuracy"].min() > 0.98
