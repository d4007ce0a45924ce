"""Figures over the mask ratio show the numbers of the table that they are given."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
import pytest

from mvqlab import plots
from mvqlab.results import published, summarise


def a_table() -> pd.DataFrame:
    """Two masks, two ratios, three seeds; random at 0.9 has one seed only."""
    rows = []
    for mask, base in (("adaptive", 22.0), ("random", 20.0)):
        for ratio in (0.5, 0.9):
            for seed in range(3):
                if (mask, ratio) == ("random", 0.9) and seed > 0:
                    continue
                psnr = base - 2.0 * ratio + 0.1 * seed * (2.0 if mask == "adaptive" else 1.0)
                bits = 400.0 * (1.0 - ratio)
                rows.append({"mask": mask, "mask_ratio": ratio, "seed": seed, "psnr": psnr, "bits": bits})
    return pd.DataFrame(rows)


def test_differences_show_each_seed_and_their_mean() -> None:
    figure = plots.paired_differences(a_table(), "mask", "adaptive", "random", "mask_ratio", ["psnr"])
    axis = figure.axes[0]
    by_seed = [marks.get_offsets()[:, 1].tolist() for marks in axis.collections[:3]]
    # 22 - 20, and 0.1 more for each seed; at 0.9 there is only seed 0
    assert by_seed == [pytest.approx([2.0, 2.0]), pytest.approx([2.1]), pytest.approx([2.2])]
    (means, _, _) = axis.containers[0].lines
    assert means.get_ydata().tolist() == pytest.approx([2.1, 2.0])
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0.5", "0.9"]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["seed 0", "seed 1", "seed 2", "mean, 95 % interval"]


def test_differences_stand_over_words_too() -> None:
    table = a_table().astype({"mask_ratio": str})
    figure = plots.paired_differences(table, "mask", "adaptive", "random", "mask_ratio", ["psnr"])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.5", "0.9"]


def test_rate_distortion_puts_a_point_at_its_bits_and_names_its_ratio() -> None:
    figure = plots.rate_distortion(a_table(), {"bits": "bits an image"})
    axis = figure.axes[0]
    assert axis.get_xlabel() == "bits an image"
    learned, drawn = (container.lines[0] for container in axis.containers)
    assert learned.get_xdata().tolist() == pytest.approx([200.0, 40.0])
    assert learned.get_ydata().tolist() == pytest.approx([21.2, 20.4])
    assert drawn.get_ydata().tolist() == pytest.approx([19.1, 18.2])
    assert {learned.get_marker(), drawn.get_marker()} == {"o", "s"}
    assert sorted(text.get_text() for text in axis.texts) == ["50 %", "50 %", "90 %", "90 %"]
    above, below = axis.texts[0], axis.texts[2]
    assert above.xyann[1] > 0 > below.xyann[1]


def test_names_of_points_that_crowd_do_not_lie_on_each_other() -> None:
    table = a_table()
    table = pd.concat([table, table.assign(mask_ratio=table["mask_ratio"] + 0.01, bits=table["bits"] + 1.0)])
    figure = plots.rate_distortion(table, {"bits": "bits"})
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    assert sorted(text.get_text() for text in texts) == sorted(["50 %", "51 %", "90 %", "91 %"] * 2)
    places = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(places, 2))


def test_published_numbers_have_a_panel_of_their_own() -> None:
    theirs = published("table 6")
    summary = summarise(a_table().query("mask == 'adaptive'"), ["mask_ratio"], ["psnr"])
    figure = plots.beside_published(summary, theirs, {"psnr": "FID"}, ours="ours", theirs="theirs")
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["ours", "theirs"]
    assert left.containers[0].lines[0].get_ydata().tolist() == pytest.approx([21.2, 20.4])
    assert right.lines[0].get_ydata().tolist() == [7.81, 7.67, 8.36, 11.71]
    assert (
        len(left.lines) == 3 and len(right.lines) == 1
    )  # means with two caps, and nothing of ours on the right
    assert right.get_ylim()[1] > 11.71
