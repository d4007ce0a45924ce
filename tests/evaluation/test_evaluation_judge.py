"""Judges of generated images: closed forms, plain loops, and intervals that cover what they say."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Barrier

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import tiny
from torch import Tensor

from mvqlab.data import build_splits
from mvqlab.evaluation.intervals import Interval, bootstrap_interval, exact_share, subset_intervals
from mvqlab.evaluation.run_report import evaluate_generation
from mvqlab.evaluation.samples.density_coverage import InBalls, share_of_balls
from mvqlab.evaluation.samples.distances import (
    frechet_distance,
    frechet_distance_of_few,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.evaluation.samples.inception_score import inception_score
from mvqlab.evaluation.samples.judge import judge, judge_rows
from mvqlab.evaluation.samples.memorisation import memorisation, nearest_rows, suspected_interval
from mvqlab.evaluation.samples.precision_recall import distances, in_balls, precision_recall
from mvqlab.evaluation.samples.reference_features import reference_features
from mvqlab.plots import nearest_training
from mvqlab.results.columns import COLUMNS
from mvqlab.support.disk_cache import CacheWarning


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


def density_coverage(real: Tensor, generated: Tensor, k: int = 5) -> InBalls:
    return share_of_balls(in_balls(distances(generated, real), distances(real, real), k), k)


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


def mean_of(rows: Tensor) -> float:
    return float(rows.mean())


def test_an_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    """Of both ways of drawing: the factor that subsets are scaled by is the right one."""
    rows = torch.randn(400, generator=torch.Generator().manual_seed(3)).double()
    drawn = {
        "with replacement": bootstrap_interval(mean_of, (rows,), 2000),
        "subsets": subset_intervals(lambda some: {"mean": mean_of(rows[some])}, (400,), 2000)["mean"],
    }
    for found in drawn.values():
        assert found.value == pytest.approx(float(rows.mean()))
        assert found.high - found.low == pytest.approx(2 * 1.96 * float(rows.std()) / 20, rel=0.06)
        assert found.low < found.value < found.high
    assert bootstrap_interval(mean_of, (rows,), 50, seed=1) == bootstrap_interval(
        mean_of, (rows,), 50, seed=1
    )
    assert math.isnan(bootstrap_interval(mean_of, (rows,), 0).low)


@pytest.mark.parametrize(("count", "n"), [(0, 500), (3, 40), (7, 7)])
def test_a_share_s_interval_is_exact(count: int, n: int) -> None:
    """Against its definition: at either end, the count or one beyond it has a chance of 2.5 %."""
    share = exact_share(count, n)
    low = sum(math.comb(n, k) * share.low**k * (1 - share.low) ** (n - k) for k in range(count, n + 1))
    high = sum(math.comb(n, k) * share.high**k * (1 - share.high) ** (n - k) for k in range(count + 1))
    assert share.value == count / n
    assert (share.low == 0.0) if count == 0 else (low == pytest.approx(0.025))
    assert (share.high == 1.0) if count == n else (high == pytest.approx(0.025))


def test_no_copy_among_few_images_is_no_proof_that_there_is_none() -> None:
    far, near = torch.full((50, 1), 9.0).double(), torch.rand(200, 1).double()
    interval = suspected_interval(memorisation(far, torch.zeros(1, 1).double(), near), 20)
    assert (interval.value, interval.low) == (0.0, 0.0)
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_a_share_at_its_end_is_not_sure_of_it() -> None:
    """Nothing of one set lies within the other: drawn anew it is 0 each time."""
    real, generated = torch.rand(30, 2).double(), torch.rand(20, 2).double() + 9.0
    found = judge_rows(real, generated, FeatureExtractor("x", "x", 2), 20)
    for name, n in (("precision", 20), ("recall", 30), ("coverage", 30)):
        assert (found[name].value, found[name].low) == (0.0, 0.0)
        assert found[name].high == pytest.approx(1 - 0.025 ** (1 / n))
    alike = judge_rows(real, real, FeatureExtractor("x", "x", 2), 20)["coverage"]
    assert (alike.value, alike.high) == (1.0, 1.0) and 0.8 < alike.low < 0.9


def test_few_rows_get_a_figure_and_no_interval() -> None:
    """Subsets of nine rows would have too few for the neighbours that judges count."""
    found = subset_intervals(lambda some: {"n": float(len(some))}, (9,), 20)["n"]
    assert found.value == 9.0 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize(("n", "m", "n_features"), [(30, 20, 90), (60, 40, 6)])
def test_the_fast_frechet_distance_is_the_usual_one(n: int, m: int, n_features: int) -> None:
    random = torch.Generator().manual_seed(n)
    real = torch.randn(n, n_features, generator=random).double()
    generated = torch.randn(m, n_features, generator=random).double() * 1.3 + 0.2
    usual = frechet_distance(real, generated)
    assert frechet_distance_of_few(real, generated) == pytest.approx(usual, rel=1e-4)


@pytest.mark.parametrize("n_features", [3, 60])  # fewer and more than images
def test_the_table_holds_the_figures_of_each_judge_alone(n_features: int) -> None:
    """Distances are computed once and looked up: rows and columns must not be swapped on the way."""
    random = torch.Generator().manual_seed(2)
    real = torch.randn(40, n_features, generator=random).double()
    generated = torch.randn(25, n_features, generator=random).double() * 0.8 + 0.1
    found = judge_rows(real, generated, FeatureExtractor("x", "x", n_features), 0)
    balls, alone = density_coverage(real, generated), precision_recall(real, generated)
    assert found["precision"].value == alone.precision and found["recall"].value == alone.recall
    assert found["density"].value == pytest.approx(float(balls.density.mean()))
    assert found["coverage"].value == float(balls.coverage.mean())
    assert found["fid"].value == pytest.approx(frechet_distance(real, generated), rel=1e-4)
    assert found["kid"].value == pytest.approx(unbiased_kernel_distance(real, generated))


@pytest.mark.slow
def test_nineteen_in_twenty_intervals_hold_the_expected_figure() -> None:
    """Where balls are not redrawn one interval of recall in four misses, with repeated images more."""
    random = torch.Generator().manual_seed(1)
    extractor = FeatureExtractor("normal", "normal", 6)

    def found(resamples: int, seed: int = 0) -> dict[str, Interval]:
        real = torch.randn(200, 6, generator=random).double()
        generated = torch.randn(120, 6, generator=random).double() * 0.85 + 0.15
        return judge_rows(real, generated, extractor, resamples, seed)

    fresh = [found(0) for _ in range(300)]
    expected = {name: sum(one[name].value for one in fresh) / len(fresh) for name in fresh[0]}
    runs = [found(60, seed) for seed in range(50)]
    for name, value in expected.items():
        covered = sum(one[name].low <= value <= one[name].high for one in runs)
        assert covered >= 42, name  # of 50: fewer happens once in 300 if 95 % are right
        spread = torch.tensor([one[name].value for one in fresh]).std()
        width = sum(one[name].high - one[name].low for one in runs) / len(runs)
        assert width < 2.0 * 2 * 1.96 * float(spread), name  # does not cover by being wide


@pytest.mark.slow
def test_intervals_of_suspected_copies_hold_the_true_share() -> None:
    """Distances may be any numbers here: the share looks at their order alone."""
    random = torch.Generator().manual_seed(4)
    for copies in (0.0, 0.1):
        truth, covered = copies + (1.0 - copies) * 0.01, 0
        for seed in range(100):
            held_out, generated = (torch.rand(n, 1, generator=random).double() for n in (512, 256))
            generated[torch.rand(256, generator=random) < copies] = 0.0
            found = memorisation(generated, torch.zeros(1, 1).double(), held_out)
            interval = suspected_interval(found, 100, seed)
            covered += interval.low <= truth <= interval.high
        assert covered >= 87  # of 100: fewer happens once in 1000 if 95 % are right


def test_a_copied_training_image_is_found_and_a_fresh_one_is_not() -> None:
    random = torch.Generator().manual_seed(0)
    training, held_out = torch.randn(900, 4, generator=random), torch.randn(300, 4, generator=random)
    copies = training[[17, 333, 899]] + 1e-4
    found = memorisation(torch.cat([copies, torch.randn(200, 4, generator=random)]), training, held_out)
    assert found.nearest.index[:3].tolist() == [17, 333, 899]
    assert found.nearness[:3].tolist() == [0.0, 0.0, 0.0]
    assert found.suspected_share == pytest.approx(3 / 203 + 0.01, abs=0.02)
    sure = suspected_interval(found, 200)
    assert sure.value == found.suspected_share and sure.low <= sure.value < sure.high < 0.1
    assert 0.4 < found.nearness[3:].float().mean() < 0.6  # fresh images lie as held-out ones do


@pytest.mark.parametrize("missing", ["generated", "training", "held-out"])
def test_memorisation_says_which_images_are_missing(missing: str) -> None:
    sets = [torch.rand(0 if name == missing else 5, 2) for name in ("generated", "training", "held-out")]
    with pytest.raises(ValueError, match=f"no {missing} ones"):
        memorisation(*sets)


def test_the_table_has_suspected_copies_where_training_images_are_given() -> None:
    random = torch.Generator().manual_seed(0)
    training, real = (torch.rand(n, 12, generator=random).double() for n in (60, 40))
    copies = training[:20] + 1e-6
    table = judge(real, copies, Colours(), resamples=30, training=training).set_index("metric")
    row = table.loc["suspected"]
    assert (row["value"], row["high"], row["better"]) == (1.0, 1.0, "lower")
    assert row["low"] == pytest.approx(0.025 ** (1 / 20))  # nineteen of twenty might be, too
    assert "suspected" not in set(judge(real, copies, Colours(), resamples=0)["metric"])


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
    config = tiny()
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
    with pytest.warns(CacheWarning, match="made again"):
        assert torch.equal(look(), first) and extractor.calls == 8
    assert torch.equal(look(), first) and extractor.calls == 8


def test_processes_that_want_the_same_features_compute_them_once(tmp_path: Path) -> None:
    config = tiny()
    splits, extractor, start = build_splits(config.data), Colours(), Barrier(4)

    def look(_: int) -> Tensor:
        start.wait()
        return reference_features(splits.validation, splits.data_hash, "v", extractor, 8, cache=tmp_path)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(look, range(4)))
    assert extractor.calls == 1
    assert all(torch.equal(one, found[0]) for one in found)


def test_another_extractor_of_the_same_column_gets_features_of_its_own(tmp_path: Path) -> None:
    """Neither has weights that tell them apart."""
    config = tiny()
    splits, one, other = build_splits(config.data), Colours(), Colours()
    other.name = "colours of another kind (test)"
    for extractor in (one, other):
        reference_features(splits.validation, splits.data_hash, "v", extractor, 8, cache=tmp_path)
    assert (one.calls, other.calls) == (1, 1)


def test_a_cache_that_cannot_be_written_costs_no_finished_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tiny()
    splits = build_splits(config.data)
    with pytest.warns(CacheWarning, match="set MVQLAB_CACHE to a folder"):
        found = reference_features(
            splits.validation, splits.data_hash, "v", Colours(), 8, cache=tmp_path / "file"
        )
    assert found.shape == (8, 12)


def test_a_full_disk_costs_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("mvqlab.evaluation.samples.reference_features.save_file", full)
    config = tiny()
    splits = build_splits(config.data)
    with pytest.warns(CacheWarning, match="No space left"):
        found = reference_features(splits.validation, splits.data_hash, "v", Colours(), 8, cache=tmp_path)
    assert found.shape == (8, 12) and not list(tmp_path.rglob("*.safetensors"))


def test_a_row_of_a_grid_has_every_judge_and_intervals_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    config = tiny()
    splits = build_splits(config.data)
    images = torch.rand(11, 3, 16, 16) * 2.0 - 1.0
    plain = evaluate_generation(images, splits, config, Colours())
    judges = {f"{name}_test" for name in ("fid", "kid", "is", "precision", "recall", "density", "coverage")}
    shares = {"precision_test", "recall_test", "coverage_test", "density_test"}  # may be 0 for noise
    assert set(plain) == judges | {"kid_test_std", "real_images", "generated_images"}
    sure = tiny("evaluation.bootstrap=5")
    with_intervals = evaluate_generation(images, splits, sure, Colours())
    ends = {f"{name}_{end}" for name in judges for end in ("low", "high")}
    assert set(with_intervals) == set(plain) | ends
    assert {name: with_intervals[name] for name in plain} == plain
    assert all(with_intervals[f"{name}_low"] < with_intervals[f"{name}_high"] for name in judges - shares)
    for name in ("fid_test", "kid_test"):  # around the column itself, not around another estimate of it
        middle = (with_intervals[f"{name}_low"] + with_intervals[f"{name}_high"]) / 2
        half = with_intervals[f"{name}_high"] - middle
        assert abs(with_intervals[name] - middle) < half
    assert with_intervals["kid_test_std"] > 1e-6
    lab = {name.replace("_test", "_lab") for name in with_intervals}
    assert lab <= set(COLUMNS)  # else a terminal takes them for the user's own


def test_fid_is_computed_once_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*sets: Tensor) -> float:
        calls.append(1)
        return 1.5

    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    # by import_module: the package's own name judge is the function
    judging = import_module("mvqlab.evaluation.samples.judge")
    monkeypatch.setattr(judging, "quick_frechet_distance", counted)
    config = tiny()
    found = evaluate_generation(torch.zeros(11, 3, 16, 16), build_splits(config.data), config, Colours())
    assert found["fid_test"] == 1.5 and len(calls) == 1


def test_the_picture_says_how_near_each_one_is() -> None:
    images = torch.zeros(3, 8, 8, 3, dtype=torch.uint8).numpy()
    figure = nearest_training(images, images, [0.0, 0.25, 1.0], [0.5, 2.25, 31.0], "title")
    words = [axis.get_xlabel() for axis in figure.axes[3:]]
    shown = zip(("0.5", "2.2", "31"), ("0%", "25%", "100%"), strict=True)
    assert words == [f"distance {apart}\n{share} of held-out\nlie nearer" for apart, share in shown]
