"""The judges of samples: what they see, that there are several, and that yardsticks lie where they should."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mvqlab.config import config_from_dict
from mvqlab.data import PictureDataset, Splits, build_splits
from mvqlab.data.dataset import Picture
from mvqlab.evaluation import build_extractor, build_extractors
from mvqlab.evaluation.attributes.agreement import CLASS
from mvqlab.evaluation.run_report import evaluate_generation
from mvqlab.evaluation.samples import jury as juries
from mvqlab.evaluation.samples.alterations import blurred, greyed, hue_turned, shuffled
from mvqlab.evaluation.samples.distances import (
    features_of,
    frechet_columns,
    frechet_distance,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.effective_dimension import effective_dimension
from mvqlab.evaluation.samples.judge import judge_rows, spreads
from mvqlab.evaluation.samples.judge_network import (
    LOOKS,
    JudgeNetwork,
    lessons,
    looks_of,
    squared_correlations,
)
from mvqlab.evaluation.samples.jury import Judge, Jury, jury, jury_of
from mvqlab.evaluation.samples.lab_network import LabAccuracy, LabTask, lab_task

RESOLUTION = 16
TASK = LabTask("labels", "object class", 3)


class Noise(PictureDataset):
    """Pictures of noise, of one of two labels."""

    def picture(self, index: int) -> Picture:
        generator = torch.Generator().manual_seed(index)
        return Picture(torch.randint(0, 256, (3, 16, 16), generator=generator).byte().numpy(), index % 2)


def noise_splits(n_classes: int = 2, data_hash: str = "abc") -> Splits:
    names = [str(number) for number in range(n_classes)]
    return Splits(Noise(70, 16), Noise(20, 16), names, "kind" if names else "", data_hash)


def some_images(n: int = 6, seed: int = 3, side: int = RESOLUTION) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, side, side, generator=generator) * 2.0 - 1.0


def untrained_jury(n_judges: int = 3) -> Jury:
    torch.manual_seed(0)
    judges = [
        Judge(JudgeNetwork(RESOLUTION, 3), TASK, LabAccuracy(0.5 + 0.1 * seed, "held-out"))
        for seed in range(n_judges)
    ]
    return Jury(judges, "noise16")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    yield


def test_a_third_of_a_turn_swaps_colours_and_a_whole_one_does_nothing() -> None:
    images = some_images()
    torch.testing.assert_close(hue_turned(images, 120.0), images[:, [2, 0, 1]])
    torch.testing.assert_close(hue_turned(images, torch.full((6,), 360.0)), images)
    grey = torch.full((1, 3, 4, 4), 0.3)
    torch.testing.assert_close(hue_turned(grey, 77.0), grey)


def test_grey_images_have_their_luma_in_every_channel() -> None:
    grey = greyed(torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1))
    torch.testing.assert_close(grey.flatten(), torch.full((3,), 0.299 - 0.587 + 0.114 * 0.5))


def test_a_blurred_point_is_a_bell_of_the_stated_width() -> None:
    """At 64 pixels a side it is two pixels for each that it is at 32."""
    point = torch.zeros(1, 3, 64, 64)
    point[..., 32, 32] = 1.0
    bell = blurred(point, 1.0)[0, 0].sum(dim=0)
    places = torch.arange(64.0) - 32.0
    assert float(bell.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((bell * places.square()).sum()) == pytest.approx(4.0, rel=0.03)
    flat = torch.full((2, 3, 16, 16), 0.7)
    torch.testing.assert_close(blurred(flat), flat)


def test_shuffled_images_keep_their_patches() -> None:
    images = (
        torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(5, 3, 8, 8)
    )
    moved = shuffled(images, torch.Generator().manual_seed(1), side=2)
    assert not torch.equal(moved, images)
    assert (moved.flatten(2).sort(dim=2).values == images.flatten(2).sort(dim=2).values).all()
    patches = moved.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (patches.amin(dim=4) == patches.amax(dim=4)).all(), "patches move as a whole"


def test_looks_are_colours_contrast_and_sharpness() -> None:
    flat = torch.tensor([0.1, -0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    looks = looks_of(flat)[0]
    assert looks.shape == (LOOKS,)
    torch.testing.assert_close(looks[:48].view(3, 16), torch.tensor([[0.1], [-0.5], [0.9]]).expand(3, 16))
    torch.testing.assert_close(looks[48:52], torch.full((4,), math.log(1e-4)))
    # A ramp of 0.1 a pixel: both differences are 0.1, and a straight line has no Laplacian.
    ramp = (0.1 * torch.arange(16.0) - 0.8).expand(1, 3, 16, 16)
    found = looks_of(ramp)[0]
    torch.testing.assert_close(found[48:52], torch.full((4,), math.log(0.01 + 1e-4)))
    assert float(found[52]) == pytest.approx(math.log(1e-4) - math.log(0.01 + 1e-4), rel=1e-4)


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    images = some_images(4, side=32)
    sharp, soft, dull = (looks_of(made)[:, 52].mean() for made in (images, blurred(images), 0.5 * images))
    assert float(sharp - soft) > 1.0
    assert float(sharp - dull) == pytest.approx(0.0, abs=0.01)


def test_correlations_are_those_of_pairs() -> None:
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    correlations = torch.corrcoef(features.T)
    pairs = sum(float(correlations[i, j] ** 2) for i in range(4) for j in range(i))
    assert float(squared_correlations(features)) == pytest.approx(pairs, rel=1e-4)


def test_effective_dimension_counts_directions() -> None:
    """Three directions of equal variance are three; one of e times less variance is less than one."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[s * (i == j) for j in range(5)] for i in range(3) for s in (-1.0, 1.0)])
    assert effective_dimension(corners) == pytest.approx(3.0)
    shares = torch.tensor([0.8, 0.2])
    two = torch.diag(shares.sqrt())
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert effective_dimension(torch.cat([two, -two])) == pytest.approx(expected, rel=1e-5)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    assert effective_dimension(corners @ basis) == pytest.approx(3.0, rel=1e-4), "however they are turned"


def test_scenes_teach_their_class_and_all_that_is_in_them() -> None:
    config = config_from_dict({"data": {"resolution": 16, "train_size": 4, "validation_size": 4}})
    splits = build_splits(config.data)
    lesson = next(iter(lessons(splits, lab_task(splits), 16, seed=5)))
    assert lesson.images.shape == (64, 3, 16, 16)
    assert lesson.attributes is not None and lesson.scenes is not None
    of_class = lesson.attributes[:, : splits.n_classes]  # the first of them: see CLASS
    assert CLASS == "class" and torch.equal(of_class.argmax(dim=1), lesson.shown)
    again = next(iter(lessons(splits, lab_task(splits), 16, seed=6)))
    assert not torch.equal(again.images, lesson.images), "another seed sees other scenes"


def test_features_of_judges_stand_side_by_side() -> None:
    several = untrained_jury()
    pixels = ((some_images() + 1.0) * 127.5).round().byte()
    features = several(pixels)
    assert features.shape == (6, 3 * 64) and several.num_features == 192
    for member, own in zip(several.members, several.by_member(features), strict=True):
        torch.testing.assert_close(own, member(pixels))
    assert "noise16 (object class, 3 seeds, 60.0% right on held-out images)" in several.name


def test_a_distance_is_the_mean_over_judges_and_comes_with_their_spread() -> None:
    several = untrained_jury()
    real, generated = (features_of(several, some_images(20, seed)) for seed in (1, 2))
    single = [
        judge_rows(of_real, of_generated, member, 0)
        for member, of_real, of_generated in zip(
            several.members, several.by_member(real), several.by_member(generated), strict=True
        )
    ]
    rows, over_judges = judge_rows(real, generated, several, 0), spreads(real, generated, several)
    assert set(rows) == set(over_judges) == {"fid", "kid", "is", "precision", "recall", "density", "coverage"}
    for name, interval in rows.items():
        values = [one[name].value for one in single]
        assert interval.value == pytest.approx(statistics.fmean(values))
        assert over_judges[name] == pytest.approx(statistics.stdev(values))
    columns = frechet_columns(real, generated, several, "rfid")
    assert columns["rfid_judge"] == pytest.approx(rows["fid"].value)
    assert columns["rfid_judge_spread"] == pytest.approx(over_judges["fid"])


def test_a_single_judge_has_no_spread() -> None:
    one = untrained_jury(1)
    real, generated = (features_of(one, some_images(8, seed)) for seed in (1, 2))
    assert spreads(real, generated, one) == {}
    assert list(frechet_columns(real, generated, one, "rfid")) == ["rfid_judge"]


def test_several_extractors_have_columns_of_their_own() -> None:
    config = config_from_dict(
        {
            "data": {"resolution": 16, "train_size": 4, "validation_size": 12},
            "evaluation": {
                "extractor": ["judge", "lab"],
                "judge_seeds": 2,
                "judge_steps": 1,
                "extractor_steps": 1,
                "images": 12,
            },
        }
    )
    splits = build_splits(config.data)
    both = build_extractors(config, splits)
    assert [one.column for one in both] == ["judge", "lab"]
    assert build_extractor(config, splits).column == "judge"
    columns = evaluate_generation(some_images(12), splits, config, both)
    expected = {"fid_judge", "fid_judge_spread", "fid_lab", "kid_judge_std", "precision_judge", "real_images"}
    assert expected <= set(columns) and "fid_lab_spread" not in columns
    assert columns == {
        **evaluate_generation(some_images(12), splits, config, both[0]),
        **evaluate_generation(some_images(12), splits, config, both[1]),
    }


def test_judges_are_trained_once_and_seeds_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    two = jury(noise_splits(), RESOLUTION, 2, range(2))
    trained: list[int] = []
    train = juries.train_judge_network

    def counted(*given: Any) -> JudgeNetwork:
        trained.append(given[4])
        return train(*given)

    monkeypatch.setattr(juries, "train_judge_network", counted)
    three = jury(noise_splits(), RESOLUTION, 2, range(3))
    assert trained == [2]
    pixels = ((some_images() + 1.0) * 127.5).round().byte()
    assert torch.equal(three(pixels)[:, :128], two(pixels))
    assert not torch.equal(*three.by_member(three(pixels))[:2])
    jury(noise_splits(data_hash="other"), RESOLUTION, 2, range(1))
    assert trained == [2, 0]


def test_without_classes_the_turn_is_learned_and_nothing_is_named() -> None:
    one = jury(noise_splits(0, "unnamed"), RESOLUTION, 1, range(1))
    member = one.members[0]
    assert "rotation" in one.name and member.answers(torch.zeros(2, 64)) is None
    named = jury(noise_splits(), RESOLUTION, 1, range(1)).members[0].answers(torch.zeros(2, 64))
    assert named is not None and named.shape == (2, 2)


def test_one_jury_serves_runs_on_few_images_and_on_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on a hundred garments would otherwise be judged by a network that saw a hundred."""
    monkeypatch.setattr(juries, "whole_splits", lambda _: noise_splits(data_hash="whole"))
    evaluation = {"judge_seeds": 1, "judge_steps": 1}
    config = config_from_dict({"data": {"name": "emoji", "resolution": 16}, "evaluation": evaluation})
    pixels = ((some_images() + 1.0) * 127.5).round().byte()
    few, many = (jury_of(config, noise_splits(data_hash=name)) for name in ("few", "many"))
    assert torch.equal(few(pixels), many(pixels))
    whole = jury(noise_splits(data_hash="whole"), RESOLUTION, 1, range(1))
    assert torch.equal(few(pixels), whole(pixels))


@pytest.mark.slow
def test_real_images_made_worse_lie_several_times_further_away_than_other_real_ones() -> None:
    """And the features vary in many directions, or the distances would hang on a few."""
    data = {"scene": "simple", "resolution": 32, "train_size": 4, "validation_size": 600}
    splits = build_splits(config_from_dict({"data": data}).data)
    images = torch.stack([splits.validation[index]["image"] for index in range(600)])
    real, other = images.split(300)
    worse = {
        "grey": greyed(other),
        "hue": hue_turned(other, 60.0),
        "blurred": blurred(other),
        "shuffled": shuffled(other, torch.Generator().manual_seed(0)),
    }
    judge = jury(splits, 32, 200, range(1))
    # 20 to 21 after the whole training, of which this is two fifths; the older lab extractor: 7
    assert effective_dimension(features_of(judge, images)) > 14.0
    seen = features_of(judge, real)
    found = {name: features_of(judge, made) for name, made in {"real": other, **worse}.items()}
    usual = frechet_distance(seen, found["real"])
    for name in worse:
        assert frechet_distance(seen, found[name]) > 2.5 * usual, name
        unbiased = unbiased_kernel_distance(seen, found[name])
        assert unbiased > 20.0 * abs(unbiased_kernel_distance(seen, found["real"])), name
