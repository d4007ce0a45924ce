"""Results: written whole with plain values, read back as one tidy table."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvqlab import results
from mvqlab.results import ResultError, load, points, save, to_markdown, write_progress, write_result
from mvqlab.results.columns import COLUMNS, as_text, heading


def write_point(folder: Path, index: int, label: str, state: str = "done", metrics=None, **settings) -> Path:
    """A point's folder as a grid leaves it."""
    folder.mkdir(parents=True)
    point = {"id": f"id{index}", "index": index, "label": label, "settings": settings}
    (folder / "point.json").write_text(json.dumps(point))
    status = {"state": state, "why": "" if state == "done" else "ValueError: no", "seconds": 12.5}
    (folder / "status.json").write_text(json.dumps(status))
    if metrics is not None:
        write_result(folder, metrics)
    return folder


def test_a_row_holds_parameters_metrics_and_what_they_were_computed_with(tmp_path):
    write_point(tmp_path / "b", 1, "second", metrics={"psnr": 20.5}, mask_ratio=0.5)
    write_point(tmp_path / "a", 10, "last", metrics={"psnr": 19}, mask_ratio=0.75)
    write_point(tmp_path / "c", 0, "first", metrics={"codebook": {"perplexity": 57}}, mask_ratio=0.0)

    table = load(tmp_path)

    assert list(table["label"]) == ["first", "second", "last"], "the grid's order, not the folders'"
    assert table["mask_ratio"].tolist() == [0.0, 0.5, 0.75]
    assert table["psnr"].dtype == float and table["psnr"].tolist()[1:] == [20.5, 19.0]
    assert table["codebook_perplexity"][0] == 57
    assert table["torch"][0] == torch.__version__
    assert table["folder"][1] == str(tmp_path / "b")


def test_a_failed_point_is_a_row_without_metrics(tmp_path):
    """What it had written before it failed is no result."""
    write_point(tmp_path / "a", 0, "good", metrics={"psnr": 20.5})
    write_point(tmp_path / "b", 1, "bad", state="failed", metrics={"psnr": 99.0})

    table = load(tmp_path)

    assert table["status"].tolist() == ["done", "failed"]
    assert table["why"].tolist() == ["", "ValueError: no"]
    assert math.isnan(table["psnr"][1])


def test_a_measured_value_does_not_replace_a_parameter_of_the_same_name(tmp_path):
    write_point(tmp_path / "a", 0, "x", metrics={"mask_ratio": 0.484, "seed": 3}, mask_ratio=0.5, seed=3)

    table = load(tmp_path)

    assert table["mask_ratio"][0] == 0.5 and table["measured_mask_ratio"][0] == 0.484
    assert "measured_seed" not in table


def test_a_result_cut_short_costs_its_row_only(tmp_path):
    write_point(tmp_path / "a", 0, "whole", metrics={"psnr": 20.5})
    (write_point(tmp_path / "b", 1, "cut") / "result.json").write_text('{"metrics": {"psnr"')

    assert load(tmp_path)["psnr"].isna().tolist() == [False, True]


def test_no_results_are_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(ResultError, match=str(tmp_path / "nothing")):
        load(tmp_path / "nothing")


def test_a_result_is_written_whatever_the_threads_are_called(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # which would be asked first
    for words, threads in (("2,1", 2), ("many", os.cpu_count())):
        monkeypatch.setenv("OMP_NUM_THREADS", words)
        write_result(tmp_path, {"x": 1})
        assert json.loads((tmp_path / "result.json").read_text())["environment"]["threads"] == threads


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (torch.tensor(2.5), 2.5),
        (torch.tensor([7]), 7),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        ((1, np.int32(2)), [1, 2]),
        (math.nan, None),
        (Path("a/b"), "a/b"),
    ],
)
def test_values_are_stored_plain(tmp_path, value, stored):
    write_result(tmp_path, {"x": value})
    found = json.loads((tmp_path / "result.json").read_text())["metrics"]["x"]
    assert found == stored and type(found) is type(stored)


def test_an_infinite_metric_survives(tmp_path):
    write_point(tmp_path / "a", 0, "x", metrics={"psnr": math.inf, "gain": -math.inf})
    assert load(tmp_path)[["psnr", "gain"]].iloc[0].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("value", [torch.zeros(2, 3), np.zeros(5), object()])
def test_what_cannot_be_stored_is_named_and_leaves_the_old_result(tmp_path, value):
    write_result(tmp_path, {"psnr": 20.5})
    before = (tmp_path / "result.json").read_bytes()

    with pytest.raises(ResultError, match=r"metrics\.curves\.loss is a"):
        write_result(tmp_path, {"curves": {"loss": value}})
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_notebook_opened_by_hand_has_no_folder_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_result("", {"psnr": 20.5})
    write_progress("", "stage 1", 1, 2)
    assert list(tmp_path.iterdir()) == []


def test_tables_are_written_for_machines_in_full_and_for_people_rounded(tmp_path):
    table = pd.DataFrame({"label": ["a | b"], "psnr": [20.123456], "own": [None], "folder": ["/somewhere"]})
    csv, parquet, markdown = save(table, tmp_path)
    assert pd.read_parquet(parquet)["psnr"].tolist() == [20.123456]

    assert pd.read_csv(csv)["psnr"][0] == 20.123456
    lines = markdown.read_text().splitlines()
    assert lines[0] == "| label | psnr, dB | own |"
    assert lines[2] == "| a \\| b | 20.12 |  |"
    assert any(line.startswith("- `psnr`: peak signal") for line in lines)
    assert "/somewhere" not in markdown.read_text()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("psnr", 20.123456, "20.12"),
        ("seconds", 12345.6, "12346"),
        ("fid_lab", 0.000012345, "1.234e-05"),
        ("unknown", 0.5, "0.5"),
        ("stage1_steps", 600.0, "600"),
        ("flag", True, "True"),
        ("psnr", math.nan, ""),
        ("psnr", math.inf, "inf"),
        ("why", "two\nlines", "two lines"),
        ("why", None, ""),
    ],
)
def test_cells_are_printed_for_people(name, value, text):
    assert as_text(name, value) == text


@given(value=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_printed_number_is_the_number_to_its_digits(value):
    assert float(as_text("unknown", value)) == pytest.approx(value, rel=1e-3)


def test_every_markdown_row_has_as_many_cells_as_the_heading():
    table = pd.DataFrame({name: ["x"] for name in COLUMNS})
    lines = to_markdown(table).splitlines()
    assert {line.count(" | ") for line in lines[:3]} == {len(COLUMNS) - 1}
    assert heading("psnr") == "psnr, dB" and heading("seed") == "seed"


def test_parameters_can_be_told_from_metrics(tmp_path):
    write_point(tmp_path / "a", 0, "x", metrics={"psnr": 20.5}, mask_ratio=0.5)
    write_point(tmp_path / "b", 1, "y", metrics={"psnr": 20.5}, **{"demask.layers": 2})
    assert results.parameter_names(tmp_path) == ["mask_ratio", "demask.layers"]


def test_parquet_keeps_types_and_takes_mixed_columns_as_words(tmp_path):
    table = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "mixed": [[1], "all"], "flag": [True, False]})
    read = pd.read_parquet(save(table, tmp_path)[1])
    assert (
        read["n"].dtype == "int64"
        and read["flag"].dtype == "bool"
        and read["x"].isna().tolist() == [False, True]
    )
    assert read["mixed"].tolist() == ["[1]", "all"]


def test_a_point_starts_at_a_moment_not_at_a_word(tmp_path):
    folder = write_point(tmp_path / "a", 0, "first", metrics={"psnr": 20.5})
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "started": "2026-01-02 03:04:05"}))
    assert load(tmp_path)["started"][0] == pd.Timestamp("2026-01-02 03:04:05", tz="UTC")
    assert str(load(tmp_path)["started"].dt.tz) == "UTC"


def test_the_commit_is_mvqlabs_own_and_not_that_of_a_project_around_it(tmp_path, monkeypatch):
    """An installed package often lies in an environment inside somebody's repository."""
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        author = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *command], check=True)
    monkeypatch.setattr(points, "__file__", str(tmp_path / "results.py"))
    assert results.environment()["git_commit"] is None


def test_the_package_has_what_it_says_it_shows():
    assert all(hasattr(results, name) for name in results.__all__)
