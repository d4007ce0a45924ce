"""Figures over any values of a parameter, and of many points: summaries of a size that can be looked at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mvqlab.plots import grid_figures as grid_figures
from mvqlab.plots import metric_spread, paired_differences, rate_distortion, summary_lines
from mvqlab.plots.ratios import bits_and_quality
from mvqlab.results.pictures import Pictures
from mvqlab.results.summary import summarise


def over(x: list[object], hues: list[object], seeds: int = 2) -> pd.DataFrame:
    rows = [
        {"x": value, "hue": hue, "seed": seed, "psnr": 20.0 + i + 0.1 * j + 0.01 * seed}
        for i, value in enumerate(x)
        for j, hue in enumerate(hues)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([None, 0.25, 0.5], ["null", "0.25", "0.5"]),
        ([True, False], ["True", "False"]),
        (["[0.0, 0.9]", 0.5, None, True, 1, "all"], ["[0.0, 0.9]", "0.5", "null", "True", "1", "all"]),
    ],
)
def test_a_summary_is_drawn_over_null_truth_ranges_and_words(x, words):
    figure = summary_lines(summarise(over(x, [None, "a"]), ["hue", "x"], ["psnr"]), "x", ["hue"])
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == words
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["null", "a"]
    figure.canvas.draw()


def test_numbers_of_any_kind_still_run_to_the_right():
    table = over([1, 0.5], ["a"]).astype({"x": object})
    figure = summary_lines(summarise(table, ["hue", "x"], ["psnr"]), "x", ["hue"])
    assert figure.axes[0].get_xlabel() == "x"


def test_differences_are_drawn_between_and_over_any_values():
    table = over([None, True, 1, "[0.0, 0.9]"], [None, False])
    figure = paired_differences(table, "hue", None, False, "x", ["psnr"])
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["null", "True", "1", "[0.0, 0.9]"]


def test_rate_and_distortion_of_null_and_of_a_range():
    table = over([0.5, "[0.0, 0.9]"], [None, "a"]).rename(columns={"x": "mask_ratio", "hue": "mask"})
    figure = rate_distortion(table.assign(bits=100.0), {"bits": "bits"})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["null", "a"]


def test_many_lines_become_their_median_and_many_names_a_few_of_them():
    lines = summarise(over([0.25, 0.5], list(range(101)), seeds=1), ["hue", "x"], ["psnr"])
    figure = summary_lines(lines, "x", ["hue"])
    (drawn,) = figure.axes[0].containers
    assert drawn.lines[0].get_ydata().tolist() == pytest.approx([25.0, 26.0])
    assert not figure.legends and "101 lines" in figure.get_suptitle()

    names = summarise(over([f"trial {n}" for n in range(400)], ["a"], seeds=1), ["x"], ["psnr"])
    figure = summary_lines(names, "x", [])
    assert figure.get_size_inches()[1] < 20
    assert 10 <= len(figure.axes[0].get_yticks()) <= 40
    assert len(figure.axes[0].containers[0].lines[0].get_xdata()) == 400, "all are drawn, some are named"


def test_values_of_many_points_are_a_histogram():
    values = [*range(99), None, np.inf]
    (axis,) = metric_spread(pd.DataFrame({"psnr": values}), {"psnr": "PSNR"}).axes
    assert sum(bar.get_height() for bar in axis.patches) == 99
    assert axis.get_lines()[0].get_xdata()[0] == 49


def test_many_points_are_summarised_and_few_of_their_pictures_are_read(tmp_path: Path, monkeypatch):
    read, saved = [], {}
    pictures = Pictures(
        *(np.zeros((2, 4, 4, 3), np.uint8) for _ in range(2)), np.zeros((2, 2, 2), np.float32),
        np.zeros((2, 2, 2), bool), np.zeros((0, 4, 4, 3), np.uint8),
    )  # fmt: skip
    monkeypatch.setattr(grid_figures, "load_pictures", lambda folder: read.append(folder) or pictures)
    monkeypatch.setattr(grid_figures, "save_figure", lambda figure, path: saved.update({path.stem: figure}))
    n = 100
    for place in range(n):
        folder = tmp_path / str(place) / "stage1"
        folder.mkdir(parents=True)
        (folder / "curves.csv").write_text(f"step,split,l1\n10,train,{1 + place}\n20,train,{2 + place}\n")
    names = [f"trial {place}" for place in range(n)]
    folders = [str(tmp_path / str(place)) for place in range(n)]
    done = {"label": names, "variant": names, "status": "done", "psnr": range(n), "folder": folders}
    grid_figures.draw_all(pd.DataFrame(done), tmp_path)

    assert 2 <= len(read) <= 20 and str(read[0]) == folders[0] and str(read[-1]) == folders[-1]
    assert sum(name.startswith("masks_") for name in saved) == len(read)
    assert "of 100 points" in saved["reconstructions"].get_suptitle()
    (axis,) = saved["curves_stage1"].axes
    assert axis.get_lines()[0].get_ydata().tolist() == [50.5, 51.5]
    for figure in saved.values():
        assert max(figure.get_size_inches()) < 25, "140 pixels an inch"


def test_ways_stand_where_their_bits_are() -> None:
    rows = [("scenes", "ours", 0.5, 300.0, 25.0), ("scenes", "ours", 0.0, 600.0, 27.0)]
    rows += [("scenes", "JPEG", 10.0, 400.0, 20.0), ("garments", "JPEG", 10.0, 300.0, 22.0)]
    table = pd.DataFrame(rows, columns=["data", "way", "setting", "bits", "psnr"])
    figure = bits_and_quality(pd.concat([table, table]), ["ours", "JPEG"], named="ours")
    scenes, garments = figure.axes
    assert scenes.get_title() == "scenes" and garments.get_title() == "garments"
    ours, jpeg = (line.get_xydata().tolist() for line in scenes.lines)
    assert ours == [[300.0, 25.0], [600.0, 27.0]] and jpeg == [[400.0, 20.0]]
    assert [text.get_text() for text in scenes.texts] == ["50 %", "0 %"] and not garments.texts
    above, below = (text.xyann[1] for text in scenes.texts)
    assert above > 0 > below, "the last one is clear of the one before"


def test_a_headline_says_where_arms_have_more_and_fewer_seeds() -> None:
    rows = [("a", 1.0, seed, seed) for seed in range(5)] + [("b", 1.0, seed, seed) for seed in range(3)]
    table = pd.DataFrame(rows, columns=["hue", "x", "seed", "psnr"])
    figure = summary_lines(summarise(table, ["hue", "x"], ["psnr"]), "x", ["hue"], table)
    assert "over 3 to 5 seeds" in figure.get_suptitle()
    assert figure.axes[0].get_ylabel() == "psnr, dB"


def test_a_name_that_is_longer_than_its_panel_goes_into_two_lines() -> None:
    name = "codebook_near_duplicate_share"
    table = pd.DataFrame({"x": [1.0, 2.0], "seed": 0, name: [0.1, 0.2]})
    figure = summary_lines(summarise(table, ["x"], [name]), "x", [])
    assert figure.axes[0].get_ylabel() == f"{name},\nof codes"


def test_every_seed_is_a_mark_at_its_own_value() -> None:
    rows = [(hue, x, seed, 10 * x + seed) for hue in "ab" for x in (1, 2) for seed in range(3)]
    table = pd.DataFrame(rows, columns=["hue", "x", "seed", "psnr"])
    figure = summary_lines(summarise(table, ["hue", "x"], ["psnr"]), "x", ["hue"], table)
    marks = [
        collection.get_offsets()
        for collection in figure.axes[0].collections
        if len(collection.get_offsets()) == 6
    ]
    assert len(marks) == 2
    for of_hue in marks:
        assert sorted(of_hue[:, 1].tolist()) == [10, 11, 12, 20, 21, 22]
        assert of_hue[:, 0].tolist() == pytest.approx([1, 1, 1, 2, 2, 2], abs=0.05)


def test_an_arm_without_a_metric_leaves_every_name_at_its_own_row() -> None:
    """Plain VQ has no scores: its row is empty in that panel, and no other arm moves up to it."""
    rows = [("plain", 0, 1.0, math.nan), ("learned", 0, 2.0, 0.9), ("random", 0, 3.0, 0.5)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "psnr", "score_auc"])
    figure = summary_lines(summarise(table, ["variant"], ["psnr", "score_auc"]), "variant", [])
    for axis, expected in zip(figure.axes, ({1.0: 0, 2.0: 1, 3.0: 2}, {0.9: 1, 0.5: 2}), strict=True):
        marks = axis.lines[0].get_xydata()
        assert {float(value): float(row) for value, row in marks} == expected
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["plain", "learned", "random"]
