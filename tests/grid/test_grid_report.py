"""Plans and tables of a grid, from folders as a grid leaves them: no notebook runs here."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from grid_files import read_points

from mvqlab.grid import report
from mvqlab.grid.spec import GridError
from mvqlab.grid.status import Status, hold_point, write_status
from mvqlab.plots import grid_figures as grid_figures
from mvqlab.results import ResultError, write_progress, write_result
from mvqlab.results import points as results

ENTRIES = {
    "points": [{"label": "good", "ratio": 0.25}, {"label": "bad", "ratio": 0.5}, {"label": "new", "seed": 3}]
}


def describe(grid, point, status):
    """A point's folder as a run leaves it, but for the result."""
    folder = point.folder(grid.results)
    folder.mkdir(parents=True)
    described = {"id": point.id, "index": point.index, "label": point.label, "settings": point.settings}
    (folder / "point.json").write_text(json.dumps(described))
    write_status(folder, status)
    return folder


def write_done(grid, point, metrics):
    write_result(describe(grid, point, Status("done", seconds=1)), metrics)


@pytest.fixture
def ran(tmp_path):
    """A grid of which one point is done, one failed and one has yet to run, and its words."""
    grid, points = read_points(tmp_path, **ENTRIES)
    statuses = [Status("done", seconds=12.5), Status("failed", "ValueError: no", seconds=3)]
    for point, status in zip(points, statuses, strict=False):
        (describe(grid, point, status) / "executed.ipynb").touch()
    write_result(points[0].folder(grid.results), {"psnr": 20.123456, "own": 7.5})
    return grid


@pytest.fixture
def drawn(monkeypatch):
    """The tables that figures were asked for, in place of figures."""
    tables = []

    def draw_all(table, folder):
        tables.append(table)
        return [folder / "figure.png"]

    monkeypatch.setattr("mvqlab.plots.draw_all", draw_all)
    return tables


def test_the_table_has_a_row_for_every_point_and_its_files_are_named(ran, drawn):
    words = []
    table = report.print_table(ran.path, words.append)

    assert table["label"].tolist() == ["good", "bad", "new"]
    assert table["status"].tolist() == ["done", "failed", "waiting"]
    assert table["ratio"].tolist() == [0.25, 0.5, 0.5], "also of the point that has yet to run"
    assert table["psnr"].notna().tolist() == [True, False, False]
    assert drawn[0] is table
    printed = "\n".join(words)
    assert "bad: ValueError: no" in printed and "20.12" in printed
    for name in ("table.csv", "table.md", "figure.png"):
        assert str(ran.results / name) in printed
    assert printed.count("executed.ipynb") == 2
    assert pd.read_csv(ran.results / "table.csv")["psnr"][0] == 20.123456


def test_a_results_folder_gives_the_same_rows_without_those_that_never_ran(ran):
    collected = report.collect(ran.results)

    assert collected.table["label"].tolist() == ["good", "bad"]
    assert collected.parameters == report.collect(ran.path).parameters


def test_results_of_an_earlier_form_of_the_grid_are_counted_and_left_out(ran, tmp_path):
    read_points(tmp_path, points=ENTRIES["points"][1:])
    collected = report.collect(ran.path)

    assert collected.table["label"].tolist() == ["bad", "new"]
    assert collected.n_older == 1


def test_a_relabelled_point_appears_under_its_new_name(ran, tmp_path):
    read_points(tmp_path, points=[{"label": "renamed", "ratio": 0.25}])
    table = report.collect(ran.path).table

    assert table["label"].tolist() == ["renamed"] and table["psnr"].notna().all()


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ResultError, match="no results under"):
        report.print_table(tmp_path)


def table_of(n_metrics: int) -> pd.DataFrame:
    columns = {f"own_metric_{number}": [1.5, 2.5] for number in range(n_metrics)}
    return pd.DataFrame(
        {"label": ["a long label", "b"], "status": "done", "seed": [0, 0], "ratio": [0.25, 0.5], **columns}
    )


def test_a_table_that_fits_has_a_row_a_point_and_names_constants_once():
    lines = report.as_lines(table_of(2), ["seed", "ratio"], 80).splitlines()

    assert lines[0] == "everywhere: seed=0"
    assert lines[1].split() == ["label", "status", "ratio", "own_metric_0", "own_metric_1"]
    assert lines[3].split() == ["1", "b", "done", "0.5", "2.5", "2.5"]


def test_a_table_that_is_too_wide_is_turned():
    lines = report.as_lines(table_of(9), ["seed", "ratio"], 80).splitlines()

    assert max(map(len, lines)) <= 80
    assert "0  a long label" in lines
    assert ["own_metric_8", "1.5", "2.5"] in [line.split() for line in lines]


def test_a_plan_shows_state_and_parameters_of_every_point(ran, capsys):
    report.print_plan(ran.path)
    printed = capsys.readouterr().out

    assert [line.split()[:3] for line in printed.splitlines() if "  good" in line or "  bad" in line] == [
        ["0", "done", "good"],
        ["1", "failed", "bad"],
    ]
    assert "waiting" in printed and "ratio=0.25" in printed
    assert "3 points: 1 done, 2 left" in printed
    assert "about 25 s with one worker" in printed


def test_a_plan_goes_by_the_files_estimate_until_a_point_is_done(tmp_path, capsys):
    grid, _ = read_points(tmp_path, seeds=[0, 1], cost={"minutes_on_two_cores": 2, "minutes_on_gpu": 0.5})
    report.print_plan(grid.path)
    assert "about 4 min 00 s on two cores, 1 min 00 s on a GPU" in capsys.readouterr().out


def test_the_status_says_what_runs_and_what_failed(ran, capsys):
    grid, points = read_points(ran.path.parent, **ENTRIES)
    folder = points[2].folder(grid.results)
    with hold_point(folder):
        write_status(folder, Status("running"))
        write_progress(folder, "stage 1", 20, 500)
        report.print_status(ran.path)
    printed = capsys.readouterr().out
    assert "1 done, 1 failed, 1 running" in printed
    assert "new  stage 1  20/500" in printed and "bad  FAILED: ValueError: no" in printed


PLOT = {
    "x": "ratio",
    "hue": "flag",
    "metrics": ["psnr", "absent"],
    "compare": {"name": "flag", "first": True, "second": False},
    "published": "table 6",
}


def test_a_table_over_seeds_is_summarised_compared_and_drawn(tmp_path, drawn):
    axes = {"flag": [True, False], "ratio": [0.25, 0.5]}
    grid, points = read_points(tmp_path, axes=axes, seeds=[0, 1, 2], plot=PLOT)
    for point in points:
        settings = point.settings
        write_done(grid, point, {"psnr": 20 + settings["flag"] - settings["ratio"] + 0.1 * settings["seed"]})
    report.print_table(grid.path)

    summary = pd.read_csv(grid.results / "summary.csv").set_index(["flag", "ratio"])
    assert summary.loc[(True, 0.5), "mean"] == pytest.approx(20.6) and summary.loc[(True, 0.5), "n"] == 3
    compared = pd.read_csv(grid.results / "comparison.csv")
    assert compared["mean"].tolist() == pytest.approx([1.0, 1.0]) and compared["is_clear"].all()
    text = (grid.results / "summary.md").read_text()
    assert "not to be compared with the numbers above" in text and "second-hand reading" in text
    assert "tokens" not in text  # a column that is empty in all of a published table is left out
    assert r"\begin{tabular}" in (grid.results / "summary.tex").read_text()
    assert (grid.results / "summary.png").stat().st_size > 1000


def test_a_list_is_a_value_to_group_by(tmp_path, drawn):
    """A range of mask ratios is one; pandas cannot group by a list."""
    axes = {"names": [["a", "b"], ["c"]]}
    plot = {"x": "names", "metrics": ["psnr"]}
    grid, points = read_points(tmp_path, axes=axes, seeds=[0, 1], plot=plot)
    for point in points:
        write_done(grid, point, {"psnr": len(point.settings["names"]) + 0.1 * point.settings["seed"]})
    report.print_table(grid.path)
    summary = pd.read_csv(grid.results / "summary.csv").set_index("names")
    assert summary["mean"].to_dict() == pytest.approx({"['a', 'b']": 2.05, "['c']": 1.05})


def test_a_plot_over_a_parameter_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(GridError, match="plot: the points have no parameter 'ratoi' — did you mean 'ratio'"):
        read_points(tmp_path, seeds=[0], plot={"x": "ratoi", "metrics": ["psnr"]})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"compare": {"name": "ratio", "first": 0.5, "second": 3}}, r"no point has ratio 3, .* the second"),
        ({"published": "nope"}, "published: no published table 'nope'; there are"),
    ],
)
def test_a_plot_that_could_not_be_made_is_refused_before_the_grid_runs(tmp_path, more, said):
    plot = {"x": "ratio", "metrics": ["psnr"], **more}
    with pytest.raises(GridError, match=said):
        read_points(tmp_path, axes={"ratio": [0.5, 0.9]}, seeds=[0, 1], plot=plot)


def test_a_metric_that_no_point_has_is_named(tmp_path, drawn):
    grid, points = read_points(tmp_path, seeds=[0], plot={"x": "seed", "metrics": ["psnrr"]})
    write_done(grid, points[0], {"psnr": 20.0})
    words = []
    report.print_table(grid.path, words.append)
    assert "plot: no point has a column 'psnrr' — did you mean 'psnr'?" in words


def test_null_ranges_truth_and_words_are_tabled_summarised_compared_and_drawn(tmp_path, drawn):
    """A null was `KeyError: nan` in the figure, a range in a comparison "Lengths must match"."""
    axes = {"mask.evaluation_ratio": [None, 0.25], "names": [[0.0, 0.9], [], [True, None]]}
    compare = {"name": "names", "first": [0, 0.9], "second": [True, None]}
    plot = {"x": "mask.evaluation_ratio", "hue": "names", "metrics": ["psnr"], "compare": compare}
    grid, points = read_points(tmp_path, axes=axes, seeds=[0, 1], plot=plot)
    for place, point in enumerate(points):
        describe(grid, point, Status("done", seconds=1))
        result = {"metrics": {"psnr": 20.0 + place // 2}}
        (point.folder(grid.results) / "result.json").write_text(json.dumps(result))
    words = []
    report.print_table(grid.path, words.append)

    assert pd.read_csv(grid.results / "summary.csv")["mean"].tolist() == [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    compared = pd.read_csv(grid.results / "comparison.csv")
    assert compared["mean"].tolist() == [-2.0, -2.0] and compared["mask.evaluation_ratio"].isna().sum() == 1
    assert (grid.results / "summary.png").stat().st_size > 1000
    assert "null" in (grid.results / "summary.md").read_text()
    assert any("null" in line for line in words[0].splitlines() if "done" in line)


OTHER_KINDS = '{"state": [1], "settings": [1], "metrics": [1], "index": "x"}'
NONSENSE = ["", "{", "[1]", '"x"', "null", "\x00", OTHER_KINDS]


@pytest.mark.parametrize("name", ["point.json", "status.json", "result.json"])
@pytest.mark.parametrize("content", NONSENSE)
def test_one_damaged_file_is_named_and_fails_nothing(tmp_path, drawn, name, content):
    """A table of three points, of which one file of one holds nonsense: three rows, and a word about it."""
    grid, points = read_points(tmp_path, **ENTRIES)
    for number, point in enumerate(points):
        write_done(grid, point, {"psnr": 20.0 + number})
    (points[1].folder(grid.results) / name).write_text(content)
    words = []
    table = report.print_table(tmp_path / "toy_grid.yaml", words.append)

    said = "\n".join(words)
    assert len(table) == 3 and table["psnr"].notna().sum() >= 2
    assert f"{name} damaged" in said and "older results" not in said
    assert (name == "point.json") == (table["status"].tolist() == ["done"] * 3)
    assert len(results.load(grid.results)) == 3


def test_curves_that_are_cut_short_are_drawn_as_far_as_they_go(tmp_path):
    run = tmp_path / "stage1"
    run.mkdir()
    (run / "curves.csv").write_text("step,split,seconds,l1\n1,train,0.5,0.25\n2,train,1.0,0.2\n3,tra")
    done = pd.DataFrame([{"label": "a", "folder": str(tmp_path)}])
    assert grid_figures._all_curves(done, "stage1", "l1")["l1"].tolist() == [0.25, 0.2]
    (run / "curves.csv").write_text("step,spl")
    assert grid_figures._all_curves(done, "stage1", "l1").empty
    (run / "curves.csv").write_bytes(b"\xff\xfe\x00")
    assert grid_figures._all_curves(done, "stage1", "l1").empty
