"""A stage 1 that points share: who shares it, who goes first, what is waited for, what is thrown away."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from grid_files import (
    NOTEBOOKS,
    PATIENCE,
    attempts,
    read_points,
    start_grid,
    tell,
    tiny_base,
    wait_until,
    write_grid,
)

from mvqlab.cli import main as cli
from mvqlab.grid import report
from mvqlab.grid.points import Point, build_points
from mvqlab.grid.runner import _GridRun, run_grid
from mvqlab.grid.shared import discard_stage1, first_of_each_stage1, folder_of_stage1, is_trained
from mvqlab.grid.spec import Grid, GridError, read_grid
from mvqlab.grid.status import state_of
from mvqlab.grid.watch import Board
from mvqlab.results import read_json
from mvqlab.support.locks import LOCK, held

ROOT = Path(__file__).parents[2]
ABLATION_POINT = ROOT / "notebooks" / "ablation_point.ipynb"
SHARING = str(NOTEBOOKS / "sharing.ipynb")
AXES = {"transformer.width": [32, 64]}


def sharing(folder: Path, **entries: object) -> tuple[Grid, list[Point]]:
    """A grid of four points, of which 0 and 2 share a stage 1, and so do 1 and 3."""
    return read_points(folder, **{"notebook": SHARING, "axes": AXES, "seeds": [0, 1], **entries})


def finish(point: Point, grid: Grid, step: int = 500) -> Path:
    """Leave the weights of the stage 1 that `point` shares, of step number `step`."""
    folder = folder_of_stage1(point, grid.stage1_store)
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"__metadata__": {"step": str(step)}}).encode()
    (folder / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def trainings(grid: Grid) -> list[str]:
    """The folders of the points that trained, a name for each training."""
    files = grid.results.glob("stage1/*/trainings.txt")
    return sorted(line for path in files for line in path.read_text().splitlines())


def engine(grid: Grid, points: Sequence[Point], *running: Point) -> _GridRun:
    """An engine at work on the points `running`."""
    run = _GridRun(grid, points, Board(io.StringIO()), False, False, [])
    run.running = [SimpleNamespace(point=point) for point in running]
    for point in running:
        run.queue.remove(point)
    return run


@pytest.mark.parametrize(
    ("name", "n_points", "n_trainings"),
    [("order", 12, 3), ("mask_ratio_range", 24, 15), ("budgets_filters", 36, 12), ("mask_ratio", 33, 33)],
)
def test_points_that_differ_in_later_steps_alone_share_a_stage1(name, n_points, n_trainings):
    points = build_points(read_grid(ROOT / "ablations" / f"{name}.yaml"))
    assert (len(points), len({point.stage1 for point in points})) == (n_points, n_trainings)


def test_one_model_for_all_ratios_is_trained_once_unless_its_budgets_go_by_the_ratio(tmp_path):
    axes = {"mask.evaluation_ratio": [0.25, 0.9], "mask.budget": ["fixed", "threshold"]}
    _, points = read_points(
        tmp_path, notebook=str(ABLATION_POINT), axes=axes, base={"mask_ratio": [0.0, 0.9]}, seeds=[3]
    )
    fixed = [point.stage1 for point in points if point.settings["mask.budget"] == "fixed"]
    assert len(set(fixed)) == 1 and len({point.stage1 for point in points}) == 3
    assert fixed[0].startswith("shapes-adaptive-0-to-0.9-seed-3-")


def test_a_notebook_that_takes_no_shared_folder_trains_its_own(tmp_path):
    grid, (point,) = read_points(tmp_path, seeds=[0])
    assert point.stage1 == "" and folder_of_stage1(point, grid.stage1_store) is None
    with pytest.raises(GridError, match="'stage1_folder' is set by the grid itself"):
        sharing(tmp_path, base={"stage1_folder": "here"})
    _, points = sharing(tmp_path)
    assert "stage1_folder" not in points[0].settings


def test_finished_is_what_has_gone_all_its_steps(tmp_path):
    grid, points = sharing(tmp_path)
    assert not is_trained(points[0], grid.stage1_store)
    finish(points[0], grid, step=499)
    assert not is_trained(points[0], grid.stage1_store)
    folder = finish(points[0], grid)
    assert is_trained(points[0], grid.stage1_store) and is_trained(points[2], grid.stage1_store)
    (folder / "weights.safetensors").write_bytes(b"\x00\x01")
    assert not is_trained(points[0], grid.stage1_store)


def test_others_go_before_a_point_whose_stage1_is_being_trained(tmp_path):
    grid, points = sharing(tmp_path, axes={"transformer.width": [32, 64, 96]})
    run = engine(grid, points, points[0])
    assert run._next() == points[1], "the other seed, which nobody trains"
    run.running.append(SimpleNamespace(point=points[1]))
    assert run._next() is None and len(run.queue) == 4, "all that is left would wait"
    finish(points[1], grid)
    assert run._next() == points[3]
    del run.running[0]  # it failed, or was killed: the next of its kind takes over
    assert run._next() == points[2]


def test_what_another_grid_trains_is_left_for_last_and_then_waited_for(tmp_path):
    grid, points = sharing(tmp_path)
    run = engine(grid, points)
    folder = folder_of_stage1(points[0], grid.stage1_store)
    folder.mkdir(parents=True)
    with held(folder / LOCK, "here"):
        assert [run._next().index for _ in points] == [1, 3, 0, 2]
        assert run._next() is None


def test_many_that_start_at_once_begin_with_one_of_each_stage1(tmp_path):
    _, points = sharing(tmp_path, seeds=[0])
    _, alone = read_points(tmp_path, seeds=[5, 6])
    assert list(first_of_each_stage1([*points, *alone])) == [points[0], *alone, points[1]]


def test_a_stage1_is_thrown_away_only_if_nobody_else_needs_it(tmp_path):
    grid, points = sharing(tmp_path)
    folders = [finish(point, grid) for point in points[:2]]
    said = []
    discard_stage1([points[0], points[1], points[2]], points, grid, said.append)
    assert [is_trained(point, grid.stage1_store) for point in points] == [False, True, False, True]
    assert len(said) == 1 and str(folders[1]) in said[0] and "point 3 uses it, too" in said[0]

    with held(folders[1] / LOCK, "here"):
        discard_stage1(points, points, grid, said.append)
    assert is_trained(points[1], grid.stage1_store) and "another process is training" in said[1]
    discard_stage1(points, points, grid, said.append)
    assert not is_trained(points[1], grid.stage1_store) and len(said) == 2


def test_a_plan_counts_a_training_once(tmp_path):
    cost = {"minutes_on_two_cores": 10, "stage1_share": 0.5}
    grid, points = sharing(tmp_path, cost=cost)
    words: list[str] = []
    report.print_plan(grid.path, words.append)
    assert "about 30 min" in words[-2], "four halves for stage 2, two for stage 1"
    assert words[-1] == "they need 2 trainings of stage 1: 0 finished"
    finish(points[0], grid)
    report.print_plan(grid.path, words.append)
    assert "about 25 min" in words[-2] and words[-1].endswith("1 finished")
    report.print_plan(write_grid(tmp_path, seeds=[0], cost=cost), words.append)
    assert "about 10 min" in words[-1], "a notebook that shares none"


@pytest.mark.slow
def test_two_workers_train_each_stage1_once(tmp_path):
    grid, points = sharing(tmp_path)
    stream = io.StringIO()
    assert run_grid(grid.path, workers=2, stream=stream) == 0, stream.getvalue()
    folders = [point.folder(grid.results) for point in points]
    assert trainings(grid) == sorted(folder.name for folder in folders[:2])
    assert [len(attempts(folder)) for folder in folders] == [1] * 4
    assert not any((folder / "waited").exists() for folder in folders)

    assert run_grid(grid.path, only=[0], fresh=True, stream=stream) == 0
    assert "point 2 uses it, too" in stream.getvalue() and len(trainings(grid)) == 2
    assert cli.main(["grid", "run", str(grid.path), "--fresh"]) == 0
    assert len(trainings(grid)) == 2 and all(map(attempts, folders)), "all anew, each stage 1 once"


@pytest.mark.slow
def test_the_next_takes_over_the_stage1_of_a_point_that_was_killed(tmp_path):
    grid, points = sharing(tmp_path, seeds=[0], base={"how": "slowly at first"})
    process = start_grid(grid.path, "--workers", "2")
    wait_until(lambda: len(trainings(grid)) == 1)
    (of_point,) = psutil.Process(process.pid).children()
    assert not attempts(points[1].folder(grid.results)), "the second worker is idle rather than waiting"
    of_point.kill()
    words, _ = process.communicate(timeout=PATIENCE)
    assert [state_of(point.folder(grid.results)) for point in points] == ["failed", "done"], words
    assert trainings(grid) == [point.folder(grid.results).name for point in points]


@pytest.mark.slow
def test_points_that_a_scheduler_starts_wait_for_one_another(tmp_path):
    grid, points = sharing(tmp_path, seeds=[0], base={"how": "until told"})
    first, second = [point.folder(grid.results) for point in points]
    command = [sys.executable, "-m", "mvqlab", "grid", "run-one", str(grid.path), "--index"]
    processes = []
    try:
        processes.append(subprocess.Popen([*command, "0"], stdout=subprocess.DEVNULL))
        wait_until(lambda: len(trainings(grid)) == 1)
        processes.append(subprocess.Popen([*command, "1"], stdout=subprocess.DEVNULL))
        wait_until(lambda: (second / "waited").exists())
        tell(first)
        assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    assert trainings(grid) == [first.name]


@pytest.mark.slow
def test_a_point_that_shares_has_the_same_numbers_as_one_that_trains_its_own(tmp_path):
    """Two points of one real training, and the second once more over a notebook that shares nothing."""
    base = tiny_base() | {"transformer": "stackformer", "mask_ratio": [0.0, 0.9]}
    points = [
        {"mask.evaluation_ratio": 0.25},
        {"mask.evaluation_ratio": 0.75, "transformer.first": "position"},
    ]
    entries = {"base": base, "points": points, "seeds": [0]}
    (tmp_path / "alone").mkdir()
    content = nbformat.read(ABLATION_POINT, as_version=4)
    (cell,) = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = "\n".join(line for line in cell.source.splitlines() if "stage1_folder" not in line)
    content.cells.insert(content.cells.index(cell) + 1, nbformat.v4.new_code_cell('stage1_folder = ""'))
    nbformat.write(content, tmp_path / "alone" / "alone.ipynb")

    grid, (_, sharer) = read_points(tmp_path, notebook=str(ABLATION_POINT), **entries)
    alone, (_, own) = read_points(tmp_path / "alone", notebook="alone.ipynb", **entries)
    stream = io.StringIO()
    assert run_grid(grid.path, workers=2, stream=stream) == 0, stream.getvalue()
    assert run_grid(alone.path, only=[1], stream=stream) == 0, stream.getvalue()

    assert [folder.name for folder in (grid.results / "stage1").iterdir()] == [sharer.stage1]
    assert own.stage1 == "" and not (alone.results / "stage1").exists()
    shared, expected = [
        read_json(point.folder(one.results) / "result.json")["metrics"]
        for one, point in ((grid, sharer), (alone, own))
    ]
    assert len(expected) > 20 and shared.keys() == expected.keys()
    differing = {name for name, value in expected.items() if shared[name] != value}
    assert differing <= {"stage1_seconds_per_step", "stage2_seconds_per_step", "samples_per_second"}


def test_a_grid_that_is_to_be_shared_with_has_to_be_there(tmp_path):
    for name, said in (
        ("protocol_simpl", "did you mean 'protocol_simple'"),
        ("", "shares_with"),
        ("a/b", "no grid"),
    ):
        with pytest.raises(GridError, match=said):
            sharing(tmp_path, shares_with=name)


def test_a_shared_stage_1_lies_where_its_owner_keeps_its_results(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    owner, _ = sharing(tmp_path, results="elsewhere/masks")
    owner.path.rename(tmp_path / "owner.yaml")
    borrower, _ = sharing(tmp_path, shares_with="owner")
    assert borrower.stage1_store == owner.stage1_store == tmp_path / "elsewhere" / "masks" / "stage1"


def test_grids_share_where_one_names_the_other(tmp_path):
    """The one that names it trains nothing that the other has, and throws away nothing of it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "pyproject.toml").touch()
    owner, points = sharing(tmp_path, results="results/masks")
    finish(points[0], owner)
    shutil.copy(owner.path, tmp_path / "other" / "masks.yaml")
    borrower, borrowing = sharing(tmp_path / "other", results="results/samples", shares_with="masks")
    assert borrower.results != owner.results and borrower.stage1_store == owner.stage1_store
    assert [is_trained(point, borrower.stage1_store) for point in borrowing] == [True, False, True, False]
    said = []
    discard_stage1(borrowing, borrowing, borrower, said.append)
    assert is_trained(borrowing[0], borrower.stage1_store) and "lies with those of masks" in said[0]
