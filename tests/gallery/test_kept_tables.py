"""Everything in results/reference/ has a command that makes it anew, which a page of results/ names."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from listener import Onlooker, share_right, write_listener
from matplotlib.figure import Figure
from tiny_runs import write_run
from torch import Tensor

from mvqlab.cli import main as cli
from mvqlab.config import load_config
from mvqlab.data import DataError
from mvqlab.evaluation.attributes.guidance import GUIDANCE
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.evaluation.samples.over_temperature import TEMPERATURES
from mvqlab.gallery import conditional, costs, judged, of_grids
from mvqlab.gallery.asked import ALL, Asked, KeptError, measured_by_model
from mvqlab.gallery.kept import MADE, make
from mvqlab.results.pictures import Pictures
from mvqlab.results.reference import FOLDER
from mvqlab.results.table_files import write_csv
from mvqlab.training import load_stage1

PAGES = sorted(FOLDER.parent.glob("*.md"))


class Colours(FeatureExtractor):
    """The mean of each colour."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))

    def answers(self, features: Tensor) -> Tensor:
        return features


def test_each_kept_file_has_one_command_and_each_command_keeps_its_files() -> None:
    there = sorted(path.name for path in FOLDER.iterdir())
    assert sorted(file for made in MADE.values() for file in made.files) == there


def test_the_pages_name_each_command_and_each_file_that_they_show_is_there() -> None:
    words = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in MADE if f"`mvqlab results make {name}`" not in words]
    assert not missing
    shown = set(re.findall(r"reference/([a-z0-9_]+[.][a-z]+)", words))
    assert shown <= {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", [name for name in of_grids.NAMES if name not in of_grids.PICTURES])
def test_means_and_differences_are_those_of_the_kept_points(name: str, tmp_path: Path) -> None:
    """No grid has run in a clone that is tested: what is made is made of the kept columns."""
    written = make(name, tmp_path)
    assert [path.name for path in written] == list(MADE[name].files)
    for path in written:
        if path.suffix == ".csv":
            assert path.read_bytes() == (FOLDER / path.name).read_bytes()


def test_a_grid_that_has_run_in_part_is_not_taken_for_the_whole() -> None:
    table = pd.DataFrame({"status": ["done", "waiting"]})
    with pytest.raises(KeptError, match=r"1 of 2 points are done.*mvqlab grid run ablations/order.yaml"):
        of_grids.measured(table, "order")
    done = table.assign(status="done")
    assert of_grids.measured(done, "order") is done


def test_a_kept_table_is_added_to_by_what_more_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points done here go before kept rows; kept ones of no point of the grid as it is now go."""
    kept = pd.DataFrame({"point": ["old", "b", "c"], "psnr": [1.0, 2.0, 3.0]})
    kept = kept.assign(status="done", started="2026-11-26 08:00:00+00:00")
    monkeypatch.setattr(of_grids, "reference_table", lambda name: kept)
    found = pd.DataFrame({"point": ["c", "a", "b", "d"], "status": ["waiting", "done", "done", "failed"]})
    started = pd.to_datetime([None, "2026-11-27 09:00:00", "2026-11-27 10:00:00", None], utc=True)
    table = of_grids.measured(found.assign(psnr=[None, 4.0, 5.0, None], started=started), "protocol_simple")
    assert table[["point", "psnr"]].values.tolist() == [["c", 3.0], ["a", 4.0], ["b", 5.0]]
    assert table["started"].dt.day.tolist() == [26, 27, 27]


def test_yardsticks_stand_beside_distances_of_arms_that_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an arm that has run here they are measured, of the other one kept; none of either is said."""
    first, second = of_grids.YARDSTICKS["protocol_simple_stage2"]
    kept = pd.DataFrame({"yardstick": ["real", "real"], "fid_judge": [1.0, 2.0], "variant": [first, second]})
    measured: list[str] = []

    def measure(folder: str, _: Asked) -> pd.DataFrame:
        measured.append(folder)
        return pd.DataFrame({"yardstick": ["real"], "fid_judge": [3.0]})

    monkeypatch.setattr(of_grids, "reference_table", lambda name: kept)
    monkeypatch.setattr(of_grids, "yardsticks_of", measure)
    table = pd.DataFrame({"variant": [first, second, second], "folder": [None, "run-0", "run-1"]})
    path = of_grids._yardsticks(table, "protocol_simple_stage2", Asked(tmp_path, ALL))
    found = pd.read_csv(path)
    assert found[["variant", "fid_judge"]].values.tolist() == [[first, 1.0], [second, 3.0]]
    assert measured == [str(Path("run-0") / "stage1")]

    monkeypatch.setattr(of_grids, "reference_table", lambda name: None)
    with pytest.raises(KeptError, match="none is kept"):
        of_grids._yardsticks(table.drop(columns="folder"), "protocol_simple_stage2", Asked(tmp_path, ALL))


def test_samples_of_arms_that_have_run_are_shown_a_row_an_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros((0, 4, 4))
    for folder, n in (("run-0", 3), ("run-1", 20), ("later-seed", 5)):
        samples = np.full((n, 4, 4, 3), n, dtype=np.uint8)
        (tmp_path / folder).mkdir()
        Pictures(nothing, nothing, nothing.astype(np.float32), nothing.astype(bool), samples).save(
            tmp_path / folder
        )
    shown: dict[str, int] = {}

    def draw(rows: dict[str, np.ndarray], title: str) -> Figure:
        shown.update({arm: len(samples) for arm, samples in rows.items()})
        return Figure()

    monkeypatch.setattr(of_grids, "image_rows", draw)
    folders = [str(tmp_path / name) for name in ("run-0", "run-1", "later-seed")]
    table = pd.DataFrame({"variant": ["a", "b", "a"], "folder": folders})
    path = of_grids._samples(table, "protocol_simple_stage2", tmp_path)
    assert path.exists() and shown == {"a": 3, "b": of_grids.N_SAMPLES}

    monkeypatch.setattr(of_grids, "KEPT", tmp_path)  # where a picture is, that has all arms
    before = path.read_bytes()
    shown.clear()
    path.write_bytes(b"all arms")
    table.loc[len(table)] = {"variant": "c"}
    monkeypatch.chdir(tmp_path)
    assert of_grids._samples(table, "protocol_simple_stage2", Path()).read_bytes() == b"all arms"
    assert not shown and before


def test_rows_of_other_models_stay(tmp_path: Path) -> None:
    values = {"a": 1.0, "b": 2.0}

    def measure(name: str) -> pd.DataFrame:
        return pd.DataFrame({"value": [values[name]]})

    measured_by_model(Asked(tmp_path, ALL), "some", ["a", "b"], measure, ["model"])
    values["a"] = 3.0
    path, _ = measured_by_model(Asked(tmp_path, "a"), "some", ["a", "b"], measure, ["model"])
    assert pd.read_csv(path).set_index("model")["value"].to_dict() == {"a": 3.0, "b": 2.0}


def test_bits_of_a_run_are_measured_on_both_sets(tmp_path: Path) -> None:
    stage1, stage2 = write_run(tmp_path, "classes")
    (path,) = make("bits", tmp_path, str(stage2), str(stage1), n_images=6)
    table = pd.read_csv(path)
    assert table["set"].unique().tolist() == ["training", "held-out", costs.GAP]
    means = table.set_index(["metric", "set"])["mean"]
    for metric in means.index.unique("metric"):
        gap = means[metric, "held-out"] - means[metric, "training"]
        assert means[metric, costs.GAP] == pytest.approx(gap, abs=2e-5)


def test_a_few_samples_of_a_run_go_before_all_judges_with_filters_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judged, "build_extractor", lambda *_: Colours("colours", "colours", 3))
    stage1, stage2 = write_run(tmp_path, "classes")
    (path,) = make("judges", tmp_path, str(stage2), str(stage1), n_images=8)
    table = pd.read_csv(path)
    n_rows = table.groupby("filters").size()
    assert n_rows["off"] == n_rows["published"] and {"real", "after stage 1", "greyed"} <= set(n_rows.index)
    assert {"fid", "kid", "suspected"} <= set(table["metric"])
    assert (table["generated_images"] == 8).all()


def test_yardsticks_of_a_run_are_those_of_its_data_and_its_stage_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "build_extractors", lambda *_: [Colours("colours", "colours", 3)])
    stage1, _ = write_run(tmp_path, "classes")
    (path,) = make("yardsticks", tmp_path, str(stage1), n_images=20)
    table = pd.read_csv(path).set_index("yardstick")
    names = ["real", "greyed", "hue turned", "blurred", "shuffled", "after stage 1"]
    assert table.index.tolist() == names and set(table["extractor"]) == {"colours"}
    assert table.loc["real", "fid_colours"] < table.loc["greyed", "fid_colours"]
    # a mean colour is the same wherever the patches lie
    assert table.loc["shuffled", "fid_colours"] == pytest.approx(table.loc["real", "fid_colours"], rel=1e-3)


def test_a_run_is_judged_at_every_temperature_beside_real_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "build_extractor", lambda *_: Colours("colours", "colours", 3))
    stage1, stage2 = write_run(tmp_path, "classes")
    made = make("judged_over_temperature", tmp_path, str(stage2), str(stage1), n_images=8)
    assert [path.name for path in made] == list(MADE["judged_over_temperature"].files)
    table = pd.read_csv(made[0])
    assert tuple(table["temperature"].dropna()) == TEMPERATURES
    assert table.loc[table["temperature"].isna(), "yardstick"].tolist() == [
        "other real images",
        "real, after MQ-VAE",
    ]
    assert table[["fid", "precision", "recall"]].notna().all(axis=None)


def test_the_default_judges_look_at_shipped_models() -> None:
    """Their own settings name the extractor that their cards go by."""
    config = judged.judged_now(load_config("simple32", ["evaluation.extractor=lab", "evaluation.images=77"]))
    assert (config.evaluation.extractor, config.evaluation.images) == ("judge", 77)


def test_a_run_that_listens_is_asked_for_its_classes_over_guidance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder of a run to table and figure: more guidance, and more is drawn that was asked for."""
    stage1, stage2 = write_listener(tmp_path)
    monkeypatch.setattr(conditional, "attribute_detector", lambda scene: Onlooker(load_stage1(stage1)))
    n_images = 60
    made = make("attributes_over_guidance", tmp_path, str(stage2), str(stage1), n_images=n_images)
    assert [path.name for path in made] == list(MADE["attributes_over_guidance"].files)
    assert all(path.stat().st_size for path in made)
    found = pd.read_csv(made[0]).set_index(["guided", "guidance"])["accuracy"]
    for weight in GUIDANCE:
        share = share_right(weight)
        assert found["codes", weight] == pytest.approx(
            share, abs=4 * math.sqrt(share * (1 - share) / n_images)
        )
    assert found["codes", 3.0] > found["codes", 1.0] + 0.3 > found["codes", 0.0] + 0.3
    assert found["positions", 3.0] == found["positions", 1.0], "raster draws no positions to guide"


def test_samples_are_drawn_with_the_published_filters_and_without() -> None:
    off, published = judged.drawings(load_config("simple32"), 5).values()
    assert (off.sampling.code_top_k, published.sampling.code_top_k) == (0, 100)
    assert {one.seed for one in (off, published)} == {1}


def test_a_look_at_fewer_images_does_not_replace_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "make", "judges", "--images", "3"]) == 2
    assert "give --out FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["verdicts", "quality_simple"])
def test_what_is_made_of_no_model_takes_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeptError, match="fashion_mqvae"):
        make(name, tmp_path, "fashion_mqvae")


def test_of_all_what_cannot_be_made_is_said_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(error: Exception, asked: Asked) -> list[Path]:
        raise error

    errors = {"mask_explorer": KeptError("no Chromium on this machine"), "judges": DataError("no garments")}
    kept = {name: MADE[name]._replace(draw=partial(refuse, error)) for name, error in errors.items()}
    kept |= {"order": MADE["order"]}
    monkeypatch.setattr("mvqlab.gallery.kept.MADE", kept)
    assert cli.main(["results", "make", "all", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "mask_explorer: no Chromium" in told.err and "judges: no garments" in told.err
    assert "order_summary.csv" in told.out


def test_what_is_kept_of_models_outlives_one_that_fails(tmp_path: Path) -> None:
    def measure(model: str) -> pd.DataFrame:
        if model == "b" and fails:
            raise DataError("no garments")
        return pd.DataFrame({"value": [2.0]})

    write_csv(pd.DataFrame({"model": ["a", "b", "gone"], "value": [1.0, 1.0, 1.0]}), tmp_path / "some.csv")
    fails = True
    with pytest.raises(DataError):
        measured_by_model(Asked(tmp_path, ALL), "some", ["a", "b"], measure, ["model"])
    kept = pd.read_csv(tmp_path / "some.csv").set_index("model")["value"]
    assert kept.to_dict() == {"a": 2.0, "b": 1.0, "gone": 1.0}

    fails = False
    measured_by_model(Asked(tmp_path, ALL), "some", ["a", "b"], measure, ["model"])
    kept = pd.read_csv(tmp_path / "some.csv").set_index("model")["value"]
    assert kept.to_dict() == {"a": 2.0, "b": 2.0}
