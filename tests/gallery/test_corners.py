"""What norm, product and de-masker bring, each with and without the others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mvqlab.gallery import corners, of_grids
from mvqlab.gallery.asked import Asked, KeptError
from mvqlab.grid.report import Collected
from mvqlab.plots import corner_lines

BRINGS = {"norm": 1.0, "product": -2.0, "de-masker": 0.25}


@pytest.fixture
def points() -> pd.DataFrame:
    """Each part brings the same beside any others, more with each seed; the last seed lacks a corner."""
    rows = []
    for seed in range(3):
        for arm, has in corners.CORNERS.items():
            brought = sum(BRINGS[part] for part, is_there in zip(corners.PARTS, has, strict=True) if is_there)
            rows.append({"variant": arm, "seed": seed, "psnr": 20.0 + brought * (1.0 + 0.1 * seed)})
    table = pd.DataFrame(rows[:-1]).assign(status="done")
    table = table.assign(**{name: table["psnr"] / 100.0 for name in corners.MEASURES[1:]})
    other = {"variant": "75 %", "seed": 0, "status": "done", "psnr": 0.0}
    return pd.concat([table, pd.DataFrame([other])], ignore_index=True)


def test_a_part_brings_what_pairs_differ_by_that_differ_in_it_alone(points: pd.DataFrame) -> None:
    found = corners.effects_of_parts(corners.in_corners(points)).set_index(["part", "metric"])
    for part, brings in BRINGS.items():
        effect = found.loc[part, "psnr"]
        assert effect["n"] == 2  # of the seeds that have all corners
        assert effect["mean"] == pytest.approx(1.05 * brings)
    assert found.loc["norm", "codebook_effective_rank"]["mean"] == pytest.approx(0.0105)


def test_tables_and_figure_are_of_both_grids(
    points: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = {grid: points[number::2] for number, grid in enumerate(corners.GRIDS)}
    monkeypatch.setattr(of_grids, "reference_table", {}.get)
    monkeypatch.setattr(
        corners, "collect", lambda file: Collected(halves[file.stem].reset_index(), tmp_path, [], None, 0)
    )
    effects, means, figure = corners.make_corners(Asked(tmp_path, ""))
    assert len(pd.read_csv(effects)) == len(corners.PARTS) * len(corners.MEASURES)
    assert len(pd.read_csv(means)) == len(corners.CORNERS) * len(corners.MEASURES)
    assert figure.stat().st_size > 0
    halves[corners.GRIDS[1]] = points[:1]
    with pytest.raises(KeptError, match="eight corners"):
        corners.make_corners(Asked(tmp_path, ""))


def test_a_line_of_the_figure_has_the_first_part_out_and_in(points: pd.DataFrame) -> None:
    means = corners.summarise(corners.in_corners(points), corners.PARTS, ["psnr"])
    axis = corner_lines(means, corners.PARTS).axes[0]
    heights = {container.get_label(): list(container[0].get_ydata()) for container in axis.containers}
    assert heights == {
        "neither product nor de-masker": pytest.approx([20.0, 21.05]),
        "de-masker": pytest.approx([20.2625, 21.3125]),
        "product": pytest.approx([17.9, 18.95]),
        "product and de-masker": pytest.approx([18.1625, 19.2125]),
    }
