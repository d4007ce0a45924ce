"""What rivals that draw cost and give: means of their seeds, and seconds of models that draw in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from tiny_runs import write_run

from mvqlab.gallery import of_grids, rivals_drawing
from mvqlab.gallery.asked import Asked, KeptError
from mvqlab.grid.report import Collected
from mvqlab.grid.spec import Plot
from mvqlab.plots import rival_trade_offs

ARMS = ["simple: one", "simple: any order", "fashion: one", "emoji: draws nothing"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Four arms of two seeds, all in one folder's tiny run; the last one has no transformer."""
    stage1, _ = write_run(tmp_path, "classes")
    table = pd.DataFrame({"variant": [arm for arm in ARMS for _ in range(2)], "seed": [0, 1] * 4})
    table["point"] = [f"point {number}" for number in range(8)]
    table["transformer"] = ["stackformer"] * 6 + ["none"] * 2
    table["transformer.order"] = [None, None, "random", "random", None, None, None, None]
    table["psnr"] = [float(number) for number in range(8)]
    drawn = [10.0, 12.0, 20.0, 22.0, 30.0, 32.0, None, None]
    table = table.assign(bits_per_image=drawn, fid_judge=drawn, status="done", folder=str(stage1.parent))
    monkeypatch.setattr(rivals_drawing, "collect", lambda _: Collected(table, tmp_path, [], None, 0))
    monkeypatch.setattr(rivals_drawing, "reference_table", {}.get)
    monkeypatch.setattr(of_grids, "reference_table", {}.get)
    return table


def test_seconds_are_of_models_that_draw_in_turns(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def timed(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
        drawn.extend(len(way().images) for way in ways.values())  # type: ignore[attr-defined]
        return {name: [4.0, 8.0, 20.0][: min(3, rounds)] for name in ways}

    monkeypatch.setattr(rivals_drawing, "side_by_side", timed)
    path, picture = rivals_drawing.make_rivals_drawing(Asked(tmp_path / "out", "", n_images=4))
    table = pd.read_csv(path)
    assert drawn == [4, 4, 4] and (table["images"] == 4).all()
    assert table["data"].tolist() == ["simple scenes", "simple scenes", "garments"]
    assert table["arm"].tolist() == ["one", "any order", "one"]
    assert table["bits_are_bound"].tolist() == [False, True, False]
    assert table["bits_per_image"].tolist() == [11.0, 21.0, 31.0]
    assert table["psnr"].tolist() == [0.5, 2.5, 4.5]
    for name, expected in zip(rivals_drawing.SECONDS, (2.0, 1.0, 5.0), strict=True):
        assert table[name].tolist() == [expected] * 3
    assert picture.stat().st_size > 0


def test_where_an_arm_has_run_elsewhere_the_kept_seconds_stand(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.loc[4, "folder"] = None
    with pytest.raises(KeptError, match=r"mvqlab grid run ablations/rivals\.yaml"):
        rivals_drawing.make_rivals_drawing(Asked(tmp_path / "out", ""))
    kept = pd.DataFrame({"data": ["simple scenes", "garments"], "arm": "one", "images": 9, "threads": 1})
    kept = kept.assign(**dict.fromkeys(rivals_drawing.SECONDS, 0.25), psnr=99.0)
    monkeypatch.setattr(rivals_drawing, "reference_table", {"rivals_drawing": kept}.get)
    table = pd.read_csv(rivals_drawing.make_rivals_drawing(Asked(tmp_path / "out", ""))[0])
    assert table["arm"].tolist() == ["one", "one"]  # of the third no seconds are known
    assert table["seconds_per_image"].tolist() == [0.25, 0.25] and table["psnr"].tolist() == [0.5, 4.5]


def test_a_mark_is_hollow_where_bits_are_a_bound() -> None:
    columns = ["bits_per_image", "psnr", "seconds_per_image", "fid_judge"]
    row = {f"{name}{end}": 1.0 for name in columns for end in ("", "_low", "_high")}
    arms = [("one", False), ("any order", True)]
    rows = [{**row, "data": "garments", "arm": arm, "bits_are_bound": is_bound} for arm, is_bound in arms]
    figure = rival_trade_offs(pd.DataFrame(rows))
    assert len(figure.axes) == 2
    for axis in figure.axes:
        exact, bound = (container[0].get_markerfacecolor() for container in axis.containers)
        assert bound == "white" and exact != "white"


def test_each_data_set_has_a_figure_of_its_own(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, tuple[set[str], set[str]]] = {}

    def draw(self: of_grids.Summaries, plot: Plot, path: Path) -> Path:
        drawn[path.name] = (set(self.means["variant"]), set(self.seeds["variant"]))
        return path

    monkeypatch.setattr(of_grids.Summaries, "draw", draw)
    plot = Plot(x="variant", metrics=["psnr"])
    monkeypatch.setattr(of_grids, "collect", lambda _: Collected(runs, tmp_path, [], plot, 0))
    written = of_grids.make_grid("rivals", Asked(tmp_path, ""))
    assert [path.name for path in written] == of_grids.files_of("rivals")
    assert drawn["rivals_simple.png"] == ({"one", "any order"}, {"one", "any order"})
    assert drawn["rivals_fashion.png"] == ({"one"}, {"one"})
    assert drawn["rivals_emoji.png"] == ({"draws nothing"}, {"draws nothing"})
