"""Grids of thousands of points: how often files are opened and settings built, at any machine's speed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
import yaml
from grid_files import NOTEBOOKS, read_points, write_grid

from mvqlab.config import loading as config
from mvqlab.config import yaml_files
from mvqlab.data import catalogue
from mvqlab.grid import expansion, needs, point_settings, report
from mvqlab.grid.points import build_point, build_points
from mvqlab.grid.runner import run_grid
from mvqlab.grid.spec import ChangedGridError, Grid, GridError, read_grid

ABLATION_POINT = NOTEBOOKS.parent.parent / "notebooks" / "ablation_point.ipynb"
N = 24
AXES = {"ratio": [0.25, 0.5], "demask.layers": [1, 2, 3]}

_touched: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _touched is not None and event in {"open", "os.listdir", "os.scandir"}:
        _touched.append(str(arguments[0]))


sys.addaudithook(_note)  # cannot be taken back: idle unless a test asks


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that are opened and the folders that are listed, once for each time."""
    paths: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "_touched", paths)
    return paths


@pytest.fixture
def done(tmp_path: Path) -> Grid:
    """A grid of N points, all done, as their folders would be left."""
    grid, points = read_points(tmp_path, axes=AXES, seeds=[0, 1, 2, 3])
    assert len(points) == N
    for point in points:
        folder = grid.results / f"any-{point.id}"
        folder.mkdir(parents=True)
        described = {name: getattr(point, name) for name in ("id", "index", "label", "variant", "settings")}
        (folder / "point.json").write_text(json.dumps(described))
        (folder / "status.json").write_text(json.dumps({"state": "done", "seconds": 2.0}))
        (folder / "result.json").write_text(json.dumps({"metrics": {"psnr": 20.0 + point.index}}))
    return grid


def quiet(words: str) -> None:
    """Where a report's lines go."""


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (lambda path: report.print_plan(path, quiet), 1),
        (lambda path: report.print_status(path, quiet), 1),
        (lambda path: run_grid(path, stream=StringIO()), 2),  # before, and for the last line
        (lambda path: report.collect(path), 2),
    ],
    ids=["plan", "status", "run", "table"],
)
def test_a_command_opens_a_points_files_once_and_lists_the_results_a_few_times(done, touched, command, most):
    command(done.path)
    times = Counter(touched)
    of_points = {path: n for path, n in times.items() if path.endswith((".json", "lock"))}
    assert max(of_points.values()) <= most and len(of_points) >= 2 * N
    assert 1 <= times[str(done.results)] <= 4, "not once a point"


def test_one_point_is_built_alone_and_is_what_it_is_among_all(done, monkeypatch):
    """A folder's name, a scheduler's `--expect` and the table hang on its identity."""
    points = build_points(done)
    built = []
    load = point_settings.load_config
    monkeypatch.setattr(point_settings, "load_config", lambda *given: built.append(given) or load(*given))
    assert [build_point(done, index, points[index].id) for index in (0, 7, N - 1)] == [
        points[0],
        points[7],
        points[N - 1],
    ]
    assert len(built) == 3
    assert build_point(done, 3, points[4].id) == points[4], "it has moved, since the grid file was edited"
    with pytest.raises(ChangedGridError, match="not what it was when the grid started"):
        build_point(done, 3, "of no point")
    for absent in (N, -1):
        with pytest.raises(GridError, match=f"no point {absent}: indices go from 0 to {N - 1}"):
            build_point(done, absent)


def test_a_fault_of_the_point_itself_is_found_and_a_neighbours_is_left_to_the_grid(tmp_path):
    grid = read_grid(write_grid(tmp_path, points=[{"ratio": 0.5}, {"demask.layer": 3}]))
    assert build_point(grid, 0).parameters == {"ratio": 0.5}
    with pytest.raises(GridError, match=r"demask\.layer: unknown setting .*\(point 1\)"):
        build_point(grid, 1)


def test_a_preset_is_parsed_once_a_grid(tmp_path, monkeypatch):
    strict = []
    load = yaml.load

    def counted(text, Loader):
        strict.append(Loader is yaml_files._StrictLoader)
        return load(text, Loader=Loader)

    monkeypatch.setattr(yaml_files.yaml, "load", counted)
    read_points(tmp_path, axes=AXES, seeds=[0, 1])
    assert sum(strict) <= 2, "the grid file and the preset"


def test_what_is_kept_of_a_preset_does_not_change_with_a_readers_settings():
    before = config.load_config("shapes32")
    config._read_preset("shapes32")["backbone"]["channel_multipliers"].append(7)
    assert config.load_config("shapes32") == before


def test_what_points_need_is_looked_for_once_where_they_need_the_same(tmp_path, monkeypatch):
    grid, points = read_points(tmp_path, notebook=str(ABLATION_POINT), seeds=list(range(N)))
    looked = []
    monkeypatch.setattr(catalogue, "missing", lambda data: looked.append(data) or [])
    needs.check_needs(grid, points)
    assert len(looked) == 1


def test_more_points_than_a_grid_may_have_are_refused_before_any_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(expansion, "_expand", lambda content: pytest.fail("points were made"))
    names = ["ratio", "steps", "demask.layers", "quantizer.codebook_size", "stage1.steps"]
    with pytest.raises(GridError, match="make 100,000 points; a grid has at most 20,000"):
        read_points(tmp_path, axes={name: list(range(10)) for name in names})


def test_a_run_with_nothing_to_do_needs_no_data(done, monkeypatch):
    """It would import torch to look for them."""
    asked = []
    monkeypatch.setattr("mvqlab.grid.runner.check_needs", lambda grid, points: asked.extend(points))
    assert run_grid(done.path, stream=StringIO()) == 0 and asked == []


@pytest.mark.parametrize("one_more", [{"seeds": [0, 1, 2]}, {"points": [{"steps": n} for n in (1, 2, 3)]}])
def test_a_grid_of_the_most_points_runs_and_one_more_is_too_many(tmp_path, monkeypatch, one_more):
    monkeypatch.setattr(expansion, "MOST_POINTS", 4)
    _, points = read_points(tmp_path, points=[{"steps": 1}, {"steps": 2}], seeds=[0, 1])
    assert len(points) == 4
    with pytest.raises(GridError, match="6 points; a grid has at most 4"):
        read_points(tmp_path, **{"points": [{"steps": 1}, {"steps": 2}], "seeds": [0, 1], **one_more})
