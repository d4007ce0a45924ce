"""Tables say what their cells say in files, figures and terminals, whatever the labels hold."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from grid_files import read_points

from mvqlab import plots, results
from mvqlab.grid import report
from mvqlab.grid.spec import GridError
from mvqlab.grid.status import Status, write_status
from mvqlab.results.columns import as_text, printable
from mvqlab.results.table_files import as_latex, as_markdown, write_csv
from mvqlab.support.files import write_text_whole
from mvqlab.support.plain import NotPlainError, json_text, plain

ODD = [
    "50% & more",
    r"\input{/etc/passwd}",
    "a_b^c~d",
    "{#1}",
    "a|b",
    "[x]",
    "*",
    "x\\|y",
    "$5",
    "<b>",
    "é ± ½",
]


def test_latex_holds_every_sign_as_a_letter() -> None:
    """A % commented out the rest of its row, and \\input was obeyed."""
    table = pd.DataFrame({"my_label": ODD, "psnr": np.arange(len(ODD)) + 0.5})
    text = as_latex(table)
    rows = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(rows) == len(ODD)
    for row, value in zip(rows, table["psnr"], strict=True):
        label, number = row.removesuffix(r" \\").split(" & ")
        assert number == as_text("psnr", value)
        assert not re.search(r"(?<!\\)[%&$#_]", label)
        assert not re.search(r"\\(?![&%$#_{}]|text)", label)  # no command but those of signs
        assert not re.match(r"[\[*]", label)
    assert r"my\_label" in text and r"50\% \& more" in text and r"\textbackslash{}input\{/etc" in text
    assert text.startswith("\\begin{tabular}{lr}\n\\toprule\n") and text.endswith("\\end{tabular}\n")
    assert results.to_latex(table) == text


def test_markdown_holds_every_sign_and_every_digit() -> None:
    table = pd.DataFrame({"label": ODD, "n": [1234568] * len(ODD), "a|b": 1234568.0, "seconds": 0.00012345})
    lines = as_markdown(table).splitlines()
    for line in lines:
        bare = line.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") == 5, line
    assert {line.split(" | ")[-3] for line in lines[2:]} == {"1234568"}
    assert {line.split(" | ")[-2] for line in lines[2:]} == {"1234568"}
    assert lines[2 + ODD.index("x\\|y")].startswith("| x\\\\\\|y |")


@pytest.mark.parametrize("label", ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", " =1", "\t=1"])
def test_a_spreadsheet_computes_no_label(tmp_path: Path, label: str) -> None:
    table = pd.DataFrame({"label": [label, "plain"], label: [1.5, -2.5], "words": ["-0.5", "it's = 3"]})
    path = write_csv(table, tmp_path / "table.csv")
    head, first, second = list(csv.reader(io.StringIO(path.read_text())))
    assert first[0].startswith("'") and head[1].startswith("'")
    assert first[1:] == ["1.5", "-0.5"] and second == ["plain", "-2.5", "it's = 3"]


def test_no_label_commands_a_terminal(tmp_path: Path) -> None:
    label = "a\x1b[31mred\x07\u202e"
    assert printable(label) == r"a\x1b[31mred\x07\u202e" == as_text("label", label)
    assert printable("σ\tis ½\n") == "σ\tis ½\n"
    path = write_csv(pd.DataFrame({"label": [label]}), tmp_path / "table.csv")
    assert "\x1b" not in path.read_text()
    grid, (point,) = read_points(tmp_path, points=[{"label": label}], purpose="\x1b]0;mine\x07")
    folder = point.folder(grid.results)
    write_status(folder, Status("failed", "ValueError: \x1b[2J", "", 1.0))
    (folder / "point.json").write_text(json.dumps({"id": point.id, "label": label}))
    words: list[str] = []
    for show in (report.print_plan, report.print_status, report.print_table):
        show(grid.path, words.append)
    assert r"a\x1b[31mred" in "".join(words) and "\x1b" not in "".join(words)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_parameter_that_json_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(GridError, match=r"'ratio' is (nan|inf)"):
        read_points(tmp_path, points=[{"ratio": value}])
    with pytest.raises(GridError):
        read_points(tmp_path, axes={"ratio": [0.5, value]})


def test_summaries_are_escaped_and_keep_their_digits(tmp_path: Path) -> None:
    plot = {"x": "variant", "metrics": ["steps_done"]}
    labels = ["=50% & _more_|", "$a$ and $\\bad$"]
    grid, points = read_points(
        tmp_path,
        points=[{"label": one, "ratio": n / 4} for n, one in enumerate(labels)],
        plot=plot,
        seeds=[0],
    )
    for n, point in enumerate(points):
        folder = point.folder(grid.results)
        described = {"id": point.id, "index": n, "label": point.label, "variant": point.variant}
        write_text_whole(folder / "point.json", json.dumps(described))
        write_status(folder, Status("done", seconds=1.0))
        results.write_result(folder, {"steps_done": 1234568 + n})
    report.print_table(grid.path, lambda text: None)
    tex, markdown = ((grid.results / f"summary.{kind}").read_text() for kind in ("tex", "md"))
    assert r"=50\% \& \_more\_\textbar{}" in tex and "1234568" in tex
    assert r"=50% & _more_\|" in markdown and "1234568" in markdown and "e+06" not in markdown
    assert "'=50% & _more_|" in (grid.results / "summary.csv").read_text()
    assert "'=50% & _more_|" in (grid.results / "table.csv").read_text()


def test_figures_show_labels_as_they_are(tmp_path: Path) -> None:
    odd = ["costs $5 or $\\bad{$", "$", "_hidden", "a_b"]
    table = pd.DataFrame({"label": odd, "psnr": 20.0, "run": odd, "step": 1, "l1": 0.5})
    summary = results.summarise(pd.concat([table, table]), ["label"], ["psnr"])
    figures = [
        plots.metric_bars(table, {"psnr": "PSNR, dB"}),
        plots.curves(pd.concat([table.assign(split=one) for one in ("train", "validation")]), "l1", "L1"),
        plots.summary_lines(summary, "label", []),
        plots.summary_lines(summary.assign(x=0.5), "x", ["label"]),
        plots.image_rows({one: np.zeros((1, 4, 4, 3), np.uint8) for one in odd}, odd[0]),
    ]
    for number, figure in enumerate(figures):
        plots.save_figure(figure, tmp_path / f"{number}.png")
    (legend,) = figures[3].legends
    assert [text.get_text().strip().replace(r"\$", "$") for text in legend.get_texts()] == odd


def test_numpys_scalars_are_plain_numbers() -> None:
    given = {
        "a": np.float64(1.5),
        "b": [np.int32(3), np.bool_(True), np.str_("x")],
        np.str_("c"): np.array([2.5], np.float32),
        "d": np.longdouble(0.5),
        "e": Path("x") / "y",
        "f": float("nan"),
    }
    found = plain(given)
    assert [type(one) for one in (found["a"], *found["b"], found["d"])] == [float, int, bool, str, float]
    assert found["c"] == 2.5 and found["d"] == 0.5 and found["e"] == "x/y"
    assert json.loads(json_text(given), parse_constant=pytest.fail)["f"] is None
    assert json.loads(json_text([float("-inf")]), parse_constant=pytest.fail) == ["-inf"]


def test_what_is_not_plain_is_named() -> None:
    endless: list[object] = []
    endless.append(endless)
    for value in (object(), np.zeros(2), endless, np.clongdouble(1), b"bytes"):
        with pytest.raises(NotPlainError, match="value"):
            plain({"x": value})
        with pytest.raises(results.ResultError, match="metrics"):
            results.write_result("somewhere", {"x": value})


def test_tables_of_numpys_scalars_and_numbered_columns_are_saved(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {0: [np.float32(0.1234567)], "b": [np.int64(2)], "label": [np.str_("x")]}, dtype=object
    )
    for path in results.save(table, tmp_path):
        assert path.stat().st_size
    assert "| 0.1235 | 2 | x |" in (tmp_path / "table.md").read_text()
    assert pd.read_parquet(tmp_path / "table.parquet").columns.tolist() == ["0", "b", "label"]


def test_a_metric_with_a_column_s_name_replaces_nothing_and_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    settings = {"threads": 7, "ratio": 0.5}
    point = {"id": "id", "index": 0, "label": "first", "settings": settings}
    (folder / "point.json").write_text(json.dumps(point))
    (folder / "status.json").write_text(
        json.dumps({"state": "done", "seconds": 12.5, "started": "2026-01-02"})
    )
    mine = {
        "seconds": 1.25,
        "device": "abacus",
        "started": "late",
        "index": 0,
        "status": "done",
        "ratio": 0.5,
    }
    results.write_result(folder, {**mine, "torch": 3})
    (row,) = results.load(tmp_path).to_dict(orient="records")
    assert row["seconds"] == 12.5 and row["device"].startswith(("cpu", "cuda")) and row["status"] == "done"
    assert row["started"] == pd.Timestamp("2026-01-02", tz="UTC") and row["torch"] != 3
    for name in ("seconds", "device", "started", "index", "status"):
        assert row[f"measured_{name}"] == mine[name], name
    assert row["ratio"] == 0.5 and "measured_ratio" not in row  # a parameter, repeated
    assert row["threads"] == 7 and row["measured_threads"] >= 1  # asked for, and what it ran with


def test_no_parameter_takes_a_column_of_every_table(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="'seconds' is a column"):
        read_points(tmp_path, points=[{"seconds": 3}])


def test_two_metrics_do_not_share_a_column(tmp_path: Path) -> None:
    for metrics in ({"a": {"b": 1}, "a_b": 2}, {"seconds": 1, "measured_seconds": 2}):
        with pytest.raises(results.ResultError, match=r"column (a_b|measured_seconds)"):
            results.write_result(tmp_path, metrics)
