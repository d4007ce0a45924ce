"""Losses along runs, of images that train and images that are held out, in one kept table."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from mvqlab.gallery import of_grids, overfitting
from mvqlab.gallery.asked import Asked, KeptError
from mvqlab.grid.report import Collected
from mvqlab.plots import overfitting_curves

CURVES = """step,split,seconds,loss,code_loss,position_loss,seen_loss,seen_code_loss,seen_position_loss,pairs
10,train,1.0,9.0,5.0,4.0,,,,
10,validation,1.5,3.0,2.0,1.0,2.5,1.75,0.75,32.0
20,train,2.0,8.0,5.0,3.0,,,,
20,validation,2.5,3.5,2.25,1.25,1.5,1.0,0.5,32.0
"""
OF_RASTER = """step,split,seconds,loss,code_loss,seen_loss,seen_code_loss,pairs
10,validation,1.5,3.0,3.0,2.0,2.0,64.0
"""


def run_in(folder: Path, curves: str) -> str:
    (folder / "stage2").mkdir(parents=True)
    (folder / "stage2" / "curves.csv").write_text(curves, encoding="utf-8")
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """One half of an arm has run here; its other half is kept only; of another arm nothing has run."""
    halves = ["first", "second", "first"]
    table = pd.DataFrame({"stage2.half": halves, "seed": 0, "point": ["one", "two", "three"]})
    table["variant"] = [f"{arm}, stage2.half={half}" for arm, half in zip("aab", halves, strict=True)]
    table = table.assign(status=["done", "waiting", "waiting"])
    table = table.assign(folder=[run_in(tmp_path / "one", CURVES), None, None])
    monkeypatch.setattr(overfitting, "collect", lambda _: Collected(table, tmp_path, [], None, 0))
    monkeypatch.setattr(of_grids, "reference_table", {}.get)
    monkeypatch.setattr(overfitting, "reference_table", {}.get)
    return table


def test_bits_are_those_of_all_pairs_positions_counted(tmp_path: Path) -> None:
    losses = overfitting.losses_of(Path(run_in(tmp_path / "run", CURVES)))
    assert losses["step"].tolist() == [10, 20]
    assert losses["code_loss"].tolist() == [2.0, 2.25] and losses["seen_code_loss"].tolist() == [1.75, 1.0]
    assert losses["bits_per_image"].tolist() == pytest.approx([n * 32 / math.log(2) for n in (3.0, 3.5)])
    assert losses["seen_bits_per_image"].tolist() == pytest.approx([n * 32 / math.log(2) for n in (2.5, 1.5)])


def test_raster_order_has_no_bits_of_positions(tmp_path: Path) -> None:
    losses = overfitting.losses_of(Path(run_in(tmp_path / "run", OF_RASTER)))
    assert losses["bits_per_image"].tolist() == pytest.approx([3.0 * 64 / math.log(2)])
    assert losses["seen_bits_per_image"].tolist() == pytest.approx([2.0 * 64 / math.log(2)])


def test_halves_are_one_arm_and_runs_elsewhere_stay(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, picture = overfitting.make_overfitting_curves(Asked(tmp_path / "out", ""))
    before = pd.read_csv(path)
    assert before["arm"].tolist() == ["a", "a"] and before["step"].tolist() == [10, 20]
    assert picture.stat().st_size > 0

    elsewhere = before.assign(point="two", **{"stage2.half": "second"})
    old = before.assign(point="one", code_loss=9.0)  # is taken anew where the run lies here
    kept = {"protocol_overfitting_curves": pd.concat([elsewhere, old, before.assign(point="gone")])}
    rows = pd.DataFrame({"point": ["two"], "variant": ["a, stage2.half=second"], "stage2.half": "second"})
    kept["protocol_overfitting"] = rows.assign(seed=0, status="done", started="2026-11-28 10:00:00")
    monkeypatch.setattr(of_grids, "reference_table", kept.get)
    monkeypatch.setattr(overfitting, "reference_table", kept.get)
    both = pd.read_csv(overfitting.make_overfitting_curves(Asked(tmp_path / "out", ""))[0])
    assert both["point"].tolist() == ["one", "one", "two", "two"] and set(both["arm"]) == {"a"}
    assert both["code_loss"].tolist() == [2.0, 2.25, 2.0, 2.25]


def test_where_nothing_has_run_it_says_what_to_run(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overfitting, "collect", lambda _: Collected(runs[1:], tmp_path, [], None, 0))
    with pytest.raises(KeptError, match="mvqlab grid run"):
        overfitting.make_overfitting_curves(Asked(tmp_path / "out", ""))


def test_the_mark_is_where_the_mean_of_held_out_images_is_lowest() -> None:
    rows = [(0, 10, 3.0), (0, 20, 1.0), (0, 30, 2.0), (1, 10, 3.0), (1, 20, 2.5), (1, 30, 0.5)]
    table = pd.DataFrame(rows, columns=["seed", "step", "code_loss"]).assign(arm="a")
    table = table.assign(bits_per_image=table["code_loss"] * 10, seen_code_loss=1.0, seen_bits_per_image=10.0)
    for axis, scale in zip(overfitting_curves(table).axes, (1, 10), strict=True):
        mark = axis.lines[-1]
        assert (*mark.get_xdata(), *mark.get_ydata()) == (30, 1.25 * scale)


def test_a_rise_is_of_the_last_held_out_bits_over_the_lowest() -> None:
    bits = {
        overfitting.MASKED: [(10, 4.0), (20, 2.0), (30, 6.0)],
        "raster": [(10, 4.0), (20, 3.0), (30, 6.0)],
    }
    rows = [
        (arm, half, seed, step, value * (1 + seed))
        for arm, along in bits.items()
        for half in ("first", "second")
        for seed in (0, 1)
        for step, value in along
    ]
    table = pd.DataFrame(rows, columns=["arm", overfitting.HALF, "seed", "step", "bits_per_image"])
    found = overfitting.rises(table).set_index("arm")
    assert found["mean"].to_dict() == pytest.approx({overfitting.MASKED: 2.0, "raster": 1.0})
    assert found["more"]["raster"] == pytest.approx(1.0) and math.isnan(found["more"][overfitting.MASKED])
    assert found["n"].tolist() == [2, 2]
