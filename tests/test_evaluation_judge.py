"""Judges of generated images: closed forms, plain loops, and intervals that cover what they say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvqlab.config import load_config
from mvqlab.data import build_splits
from mvqlab.evaluation.density_coverage import density_coverage
from mvqlab.evaluation.extractors import FeatureExtractor
from mvqlab.evaluation.generation import frechet_distance, unbiased_kernel_distance
from mvqlab.evaluation.inception_score import inception_score
from mvqlab.evaluation.intervals import interval_of, interval_of_mean
from mvqlab.evaluation.judge import judge
from mvqlab.evaluation.memorisation import memorisation, nearest_rows
from mvqlab.evaluation.reference import reference_features
from mvqlab.evaluation.report import evaluate_generation
from mvqlab.plots import nearest_training


class Colours(FeatureExtractor):
    """Mean colour of each quarter, and which colour is the strongest: features that can be read."""

    def __init__(self) -> None:
        super().__init__("mean colours (test)", "test", 12)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)

    def answers(self, features: Tensor) -> Tensor:
        return features.view(-1, 3, 4).mean(dim=2)


@given(seed=st.integers(0, 500), n=st.integers(4, 9), m=st.integers(1, 7), k=st.integers(1, 3))
def test_density_and_coverage_are_those_of_a_plain_loop(seed: int, n: int, m: int, k: int) -> None:
    random = torch.Generator().manual_seed(seed)
    real, generated = torch.randn(n, 2, generator=random), torch.randn(m, 2, generator=random)
    radii = [sorted(math.dist(a, b) for b in real.tolist())[k] for a in real.tolist()]
    inside = [
        [math.dist(g, r) <= radius for r, radius in zip(real.tolist(), radii, strict=True)]
        for g in generated.tolist()
    ]
    found = density_coverage(real, generated, k)
    assert found.density.tolist() == pytest.approx([sum(row) / k for row in inside])
    assert found.coverage.tolist() == [float(any(row[i] for row in inside)) for i in range(n)]


def test_an_outlier_among_the_real_does_not_make_anything_plausible() -> None:
    """What density is for: precision takes the far images for good, density does not."""
    random = torch.Generator().manual_seed(0)
    real = torch.cat([torch.randn(50, 2, generator=random) * 0.1, torch.tensor([[30.0, 0.0]])])
    far = torch.tensor([[12.0, 0.0]]).repeat(20, 1) + torch.randn(20, 2, generator=random) * 0.1
    assert density_coverage(real, far).density.mean() < 0.25
    assert density_coverage(real, real[:50]).density.mean() > 0.8


@pytest.mark.parametrize(("n_classes", "sure"), [(4, 100.0), (4, 0.0), (3, 1.5)])
def test_the_inception_score_has_its_known_ends(n_classes: int, sure: float) -> None:
    """All classes equally often, `sure` apart: exp(log C - entropy of an answer)."""
    logits = torch.eye(n_classes).repeat(5, 1) * sure
    shares = logits[0].double().softmax(0)
    entropy = float(torch.special.entr(shares).sum())
    assert inception_score(logits) == pytest.approx(n_classes / math.exp(entropy), rel=1e-6)


def test_unbiased_kid_is_the_plain_double_sum() -> None:
    random = torch.Generator().manual_seed(0)
    real, generated = (
        torch.randn(6, 3, generator=random).double(),
        torch.randn(4, 3, generator=random).double(),
    )

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    def within(rows: Tensor) -> float:
        n = len(rows)
        pairs = [kernel(rows[i], rows[j]) for i in range(n) for j in range(n) if i != j]
        return sum(pairs) / len(pairs)

    between = sum(kernel(a, b) for a in real for b in generated) / 24
    expected = within(real) + within(generated) - 2 * between
    assert unbiased_kernel_distance(real, generated) == pytest.approx(expected)


def test_an_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    rows = torch.randn(400, generator=torch.Generator().manual_seed(3)).double()
    found = interval_of_mean(rows, 2000)
    assert found.value == pytest.approx(float(rows.mean()))
    assert found.high - found.low == pytest.approx(2 * 1.96 * float(rows.std()) / 20, rel=0.06)
    assert found.low < found.value < found.high
    assert interval_of_mean(rows, 50, seed=1) == interval_of_mean(rows, 50, seed=1)
    assert math.isnan(interval_of_mean(rows, 0).low)


@pytest.mark.slow
@pytest.mark.parametrize("figure", [frechet_distance, unbiased_kernel_distance])
def test_nineteen_in_twenty_intervals_hold_the_expected_figure(figure: object) -> None:
    """Percentiles as they come would miss it nearly always for FID: redrawn sets have a higher one."""
    random = torch.Generator().manual_seed(1)

    def sets() -> tuple[Tensor, Tensor]:
        shifted = torch.randn(120, 6, generator=random) * 1.2 + 0.3
        return torch.randn(150, 6, generator=random).double(), shifted.double()

    expected = sum(figure(*sets()) for _ in range(200)) / 200
    intervals = [interval_of(figure, sets(), 60, seed=run) for run in range(50)]
    covered = sum(one.low <= expected <= one.high for one in intervals)
    assert covered >= 42  # of 50: fewer happens once in 300 if 95 % are right
    too_wide = sum(one.high - one.low > 4.0 * expected for one in intervals)
    assert too_wide == 0


def test_a_copied_training_image_is_found_and_a_fresh_one_is_not() -> None:
    random = torch.Generator().manual_seed(0)
    training, held_out = torch.randn(900, 4, generator=random), torch.randn(300, 4, generator=random)
    copies = training[[17, 333, 899]] + 1e-4
    found = memorisation(torch.cat([copies, torch.randn(200, 4, generator=random)]), training, held_out)
    assert found.nearest.index[:3].tolist() == [17, 333, 899]
    assert found.nearness[:3].tolist() == [0.0, 0.0, 0.0]
    assert found.suspected_share == pytest.approx(3 / 203 + 0.01, abs=0.02)
    assert 0.4 < found.nearness[3:].float().mean() < 0.6  # fresh images lie as held-out ones do


@given(batch_size=st.integers(1, 40), seed=st.integers(0, 100))
def test_batches_do_not_change_who_is_nearest(batch_size: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    rows, among = torch.randn(5, 3, generator=random), torch.randn(31, 3, generator=random)
    whole = torch.cdist(rows, among).min(dim=1)
    found = nearest_rows(rows, among, batch_size)
    assert torch.equal(found.index, whole.indices)
    torch.testing.assert_close(found.distance, whole.values)


def test_the_table_names_its_extractor_and_its_numbers() -> None:
    random = torch.Generator().manual_seed(0)
    real, generated = (
        torch.rand(40, 12, generator=random).double(),
        torch.rand(30, 12, generator=random).double(),
    )
    table = judge(real, generated, Colours(), resamples=30).set_index("metric")
    assert list(table.index) == ["fid", "kid", "is", "precision", "recall", "density", "coverage"]
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert set(table["extractor"]) == {"mean colours (test)"}
    assert set(table["real_images"]) == {40} and set(table["generated_images"]) == {30}
    assert table.loc["fid", "better"] == "lower" and table.loc["is", "better"] == "higher"


def test_two_images_are_enough_for_what_does_not_count_neighbours() -> None:
    """A trial run draws two or three: it must not fail after its training."""
    few = judge(torch.rand(9, 12).double(), torch.rand(2, 12).double(), Colours(), resamples=0).set_index(
        "metric"
    )
    assert few.loc[["fid", "kid", "is"], "value"].notna().all()
    assert few.loc[["precision", "recall", "density", "coverage"], "value"].isna().all()


def test_reference_features_are_computed_once_and_again_where_the_file_is_damaged(tmp_path: Path) -> None:
    config = load_config("shapes32", ["data.validation_size=10", "data.train_size=10"])
    splits, extractor = build_splits(config.data), Colours()

    def look(n: int = 8, split: str = "validation") -> Tensor:
        return reference_features(
            splits.validation, splits.data_hash, split, extractor, n, batch_size=4, cache=tmp_path
        )

    first = look()
    assert first.shape == (8, 12) and extractor.calls == 2
    assert torch.equal(look(), first) and extractor.calls == 2
    look(7)
    look(split="other")
    assert extractor.calls == 6
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:30])
    for _ in range(2):  # made anew, and kept again
        assert torch.equal(look(), first) and extractor.calls == 8


def test_a_row_of_a_grid_has_every_judge_and_intervals_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    overrides = ["data.validation_size=12", "data.train_size=12", "evaluation.images=12"]
    config = load_config("shapes32", overrides)
    splits = build_splits(config.data)
    images = torch.rand(9, 3, 32, 32) * 2.0 - 1.0
    plain = evaluate_generation(images, splits, config, Colours())
    judges = {f"{name}_test" for name in ("fid", "kid", "is", "precision", "recall", "density", "coverage")}
    assert set(plain) == judges | {"kid_test_std", "real_images", "generated_images"}
    sure = load_config("shapes32", [*overrides, "evaluation.bootstrap=5"])
    with_intervals = evaluate_generation(images, splits, sure, Colours())
    ends = {f"{name}_{end}" for name in judges for end in ("low", "high")}
    assert set(with_intervals) == set(plain) | ends
    assert {name: with_intervals[name] for name in plain} == plain


def test_the_picture_says_how_near_each_one_is() -> None:
    images = torch.zeros(3, 8, 8, 3, dtype=torch.uint8).numpy()
    figure = nearest_training(images, images, [0.0, 0.25, 1.0], "title")
    words = [axis.get_xlabel() for axis in figure.axes[3:]]
    assert words == [f"{share} of held-out\nlie nearer" for share in ("0%", "25%", "100%")]
