"""Seconds until pictures are good: the clock that stands, marks of a made-up table, all ways at toy sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_runs import tiny_overrides
from torch import nn

from mvqlab.bench import peer, quality
from mvqlab.bench.quality import Clock, Watch, class_right, held_out_psnr, seconds_to_marks
from mvqlab.cli import main as cli
from mvqlab.config import ConfigError, load_config, merged
from mvqlab.data import build_splits
from mvqlab.evaluation.samples import class_judge as judges
from mvqlab.evaluation.samples.class_judge import ClassJudge, ClassNetwork, share_of

TINY = tiny_overrides("data.resolution=32")  # which is in the names of the data and of its judge


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(quality.time, "perf_counter", lambda: now[0])
    return now


def test_the_clock_stands_while_something_is_evaluated(seconds: list[float]) -> None:
    clock = Clock()
    seconds[0] = 5.0
    with clock.standing():
        seconds[0] = 105.0
    seconds[0] = 107.0
    assert clock.seconds == 7.0


def steps_of(seconds: list[float], each: float, n: int) -> Callable[[Callable], nn.Module]:
    """A training of `n` steps of `each` seconds."""

    def train(on_model: Callable[[int, nn.Module], None]) -> nn.Module:
        model = nn.Identity()
        for step in range(1, n + 1):
            seconds[0] += each
            on_model(step, model)
        return model

    return train


def test_a_stage_is_looked_at_now_and_then_and_after_its_last_step(seconds: list[float]) -> None:
    rows: list[dict] = []
    watch = Watch(100.0, looks=10, note=rows.append)

    def look(model: nn.Module) -> dict[str, float]:
        seconds[0] += 50.0  # which do not count
        return {"psnr": 20.0}

    watch.stage(1, 8, steps_of(seconds, 4.0, 8), look)
    assert [(row["step"], row["seconds"]) for row in rows] == [(3, 12.0), (6, 24.0), (8, 32.0)]


def test_stage_1_has_half_of_the_seconds_and_stage_2_the_rest(seconds: list[float]) -> None:
    rows: list[dict] = []
    watch = Watch(40.0, looks=1, note=rows.append)
    for stage in (1, 2):
        assert isinstance(watch.stage(stage, 99, steps_of(seconds, 3.0, 99), lambda model: {}), nn.Identity)
    assert [(row["stage"], row["seconds"]) for row in rows] == [(1, 21.0), (2, 42.0)]


def test_marks_are_first_times_of_each_way_and_nan_where_never_reached() -> None:
    table = pd.DataFrame(
        {
            "data": "d",
            "way": ["a", "a", "a", "b", "b"],
            "real_share": 0.8,
            "seconds": [10.0, 20.0, 30.0, 5.0, 6.0],
            "psnr": [19.0, None, None, 23.0, None],
            "class_right_judge_d_at_1": [None, 0.5, 0.61, None, 0.1],
            "class_right_judge_d_at_1_low": [None, 0.9, 0.9, None, 0.9],
            "class_right_judge_d_at_2": [None, 0.73, 0.7, None, 0.1],
        }
    )
    marks = seconds_to_marks(table).set_index(["way", "mark"])["seconds"]
    assert marks["a", "18 dB"] == 10.0 and marks["b", "22 dB"] == 5.0
    assert marks["a", "50% of real, guidance 1"] == 20.0
    assert marks["a", "75% of real, guidance 1"] == 30.0
    assert marks["a", "90% of real, best guidance"] == 20.0
    assert pd.isna(marks["a", "90% of real, guidance 1"])
    assert marks["b"].filter(like="real").isna().all() and pd.isna(marks["a", "20 dB"])


def test_samples_are_asked_for_each_class_and_named_with_the_judge() -> None:
    judge = ClassJudge(ClassNetwork(4), "judge_d", list("abcd"), share_of(1, 1))
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    found = judge(images)
    columns = class_right(lambda labels, weight: images, 4, 8, judge)
    asked = torch.arange(8) % 4
    assert columns["class_right_judge_d_at_2"] == float((found == asked).double().mean())
    assert columns["class_right_judge_d_at_1_low"] < columns["class_right_judge_d_at_1_high"]


def test_psnr_is_of_held_out_images() -> None:
    splits = build_splits(load_config("simple32", TINY).data)
    assert held_out_psnr(lambda images: images, splits) == 100.0
    assert held_out_psnr(lambda images: images + 0.2, splits) == pytest.approx(20.0, abs=1.0)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    for name, value in (("MOST_TRAINING", 8), ("MOST_HELD_OUT", 8), ("BATCH_SIZE", 4)):
        monkeypatch.setattr(judges, name, value)
    monkeypatch.setattr(quality, "class_judge", lambda data: judges.class_judge(data, steps=2))
    monkeypatch.setattr(peer, "BATCH_SIZE", 4)
    load = quality.load_config
    monkeypatch.setattr(quality, "load_config", lambda preset, given: load(preset, merged(TINY, given)))
    return tmp_path / "bench"


def test_a_recipe_is_trained_judged_and_written_row_by_row(toy: Path, capsys: pytest.CaptureFixture) -> None:
    given = {"n_samples": 16, "looks": 1, "seconds": 600.0}
    quality.main(["simple32"], ["stage2.steps=2"], only=["recipe"], folder=toy, **given)
    table = pd.read_csv(toy / "quality.csv")
    assert table["stage"].tolist() == [1, 2] and table["step"].tolist() == [3, 2]
    assert table["set"].tolist() == ["stage2.steps=2"] * 2
    assert table["psnr"].notna().tolist() == [True, False]
    assert table["class_right_judge_simple32_at_2"].notna().tolist() == [False, True]
    assert table["seconds"].is_monotonic_increasing
    assert len(pd.read_csv(toy / "quality_marks.csv")) == len(quality.PSNR_MARKS) + 2 * len(
        quality.CLASS_MARKS
    )


def test_rows_of_other_ways_and_data_stay(tmp_path: Path) -> None:
    path = tmp_path / "quality.csv"
    before = {"data": ["simple32", "simple32", "fashion32"], "way": ["peer", "recipe", "recipe"], "step": 9}
    pd.DataFrame(before).to_csv(path, index=False)
    note = quality._noter([], {"data": "simple32", "way": "recipe"}, path)
    note({"step": 1})
    note({"step": 2})
    kept = [tuple(row) for row in pd.read_csv(path).itertuples(index=False)]
    new = [("simple32", "recipe", 1), ("simple32", "recipe", 2)]
    assert kept == [("simple32", "peer", 9), ("fashion32", "recipe", 9), *new]


def test_older_recipe_has_its_own_model_and_the_same_data() -> None:
    found = {way.name: way.config for way in quality.ways("fashion32", ["seed=3"])}
    older, recipe = found["shapes32"], found["recipe"]
    assert older.data == recipe.data and older.transformer.condition == "class"
    assert older.backbone == load_config("shapes32").backbone and older.stage1.steps == 500
    assert recipe.seed == 3 and older.seed == 0
    with pytest.raises(ConfigError):
        quality.ways("fashion32", ["stage1.stepps=3"])


def test_the_command_takes_settings_and_names_what_there_is(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    given: dict = {}
    monkeypatch.setattr(quality, "main", lambda **options: given.update(options))
    words = ["--data", "simple32", "--seconds", "9", "--set", "seed=1", "--set", "seed=2", "--out", str(toy)]
    assert cli.main(["bench", "quality", *words]) == 0
    assert given == {
        "presets": ["simple32"],
        "seconds": 9.0,
        "overrides": ["seed=1", "seed=2"],
        "folder": toy,
    }
    assert cli.main(["bench", "demask", "--seconds", "9"]) == 2
    assert "belong to `mvqlab bench quality`" in capsys.readouterr().err


def test_a_way_that_does_not_exist_is_named(toy: Path) -> None:
    with pytest.raises(quality.QualityError, match="no way 'pear': there are recipe, shapes32"):
        quality.main(["simple32"], only=["pear"], folder=toy)


def test_a_peers_codes_come_back_in_their_places() -> None:
    pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    model = peer.PeerAutoencoder(n_codes=8).eval()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    codes = model.encode(images)
    assert codes.shape == (2, 16)
    torch.testing.assert_close(model.decode(codes), model(images)[0])


def test_a_peers_transformer_hears_the_class_and_never_draws_one() -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = load_config("simple32", merged(TINY, ["transformer.dropout=0"]))
    model = peer.PeerTransformer(config, n_codes=6, n_classes=3, length=4).eval()
    codes = torch.randint(6, (5, 4))
    with torch.no_grad():
        told = [model(codes, torch.full((5,), label)) for label in (0, 1, -1)]
    assert len({float(loss) for loss in told}) == 3
    for guidance in (1.0, 2.0):
        drawn = model.draw(torch.arange(40) % 3, guidance)
        assert drawn.shape == (40, 4) and drawn.min() >= 0 and drawn.max() < 6


@pytest.mark.slow
def test_a_peers_pieces_are_trained_and_judged(toy: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("vector_quantize_pytorch")
    quality.main(["simple32"], only=["peer"], folder=toy, n_samples=8, looks=1, seconds=20.0)
    table = pd.read_csv(toy / "quality.csv")
    assert table["stage"].iloc[0] == 1 and table["stage"].iloc[-1] == 2


def test_a_gpu_that_some_ways_would_take_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(quality.QualityError, match="CUDA_VISIBLE_DEVICES"):
        quality.main(folder=tmp_path)
    assert not list(tmp_path.iterdir())
