"""One point, through real papermill and a real kernel, in this process."""

from __future__ import annotations

import errno
import json
import os
import sys

import nbformat
import pytest
from grid_files import attempts, read_points

from mvqlab.grid.execute import ThisPython, run_point
from mvqlab.grid.status import PointBusyError, hold_point, read_status, state_of
from mvqlab.results import read_json
from mvqlab.support.faults import is_out_of_memory

# jupyter_client and ipykernel warn of their own futures at start-up
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")


def run(tmp_path, **parameters):
    """Run the toy notebook with `parameters`; returns its folder and whether it is done."""
    grid, (point,) = read_points(tmp_path, points=[{"steps": 1, **parameters}])
    return point.folder(grid.results), run_point(grid, point)


def test_a_point_that_ends_well_is_done_and_skipped_the_next_time(tmp_path):
    parameters = {"ratio": 1, "names": ["a", "b"], "demask.layers": 3}
    folder, is_done = run(tmp_path, **parameters)

    assert is_done and state_of(folder) == "done"
    metrics = read_json(folder / "result.json")["metrics"]
    assert metrics["echo"] == [1.0, 1, False, ["a", "b"], 0, ["demask.layers=3"]]
    assert metrics["type_of_ratio"] == "float"
    assert (folder / "executed.ipynb").exists()

    assert run(tmp_path, **parameters) == (folder, True)
    assert len(attempts(folder)) == 1


def test_a_path_may_hold_whatever_a_path_may_hold(tmp_path):
    """papermill takes the braces of a path for places of parameters."""
    project = tmp_path / "{seed} {0} {} 50% $x 'a' \"b\" #1 \\n\n{{é"
    project.mkdir()
    folder, is_done = run(project, seed=3)

    assert is_done and folder.parent.parent.parent == project
    assert (folder / "executed.ipynb").exists() and (folder / "result.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {project.name}


def test_braces_in_the_path_of_python_are_no_places_either(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/{prefix}/{connection_file}/python")
    command = ThisPython(connection_file="/run/kernel.json").format_kernel_cmd()
    assert command[0] == "/{prefix}/{connection_file}/python"
    assert "/run/kernel.json" in command


def test_a_changed_parameter_runs_in_a_folder_of_its_own(tmp_path):
    first, _ = run(tmp_path, seed=1)
    second, is_done = run(tmp_path, seed=2)

    assert is_done and first != second
    assert len(attempts(first)) == len(attempts(second)) == 1


def test_a_failing_cell_keeps_the_notebook_with_its_traceback_and_one_line_of_why(tmp_path):
    folder, is_done = run(tmp_path, how="badly")

    assert not is_done and state_of(folder) == "failed"
    status = read_status(folder)
    assert (status.why, status.exit_code) == ("ArithmeticError: two lines of trouble", 1)
    executed = nbformat.read(folder / "executed.ipynb", as_version=4)
    errors = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert [error.ename for error in errors] == ["ArithmeticError"]


def test_a_killed_kernel_is_a_failure_although_papermill_calls_its_cells_completed(tmp_path):
    folder, is_done = run(tmp_path, how="killed")

    assert not is_done and state_of(folder) == "failed"
    assert read_status(folder).why.startswith("killed: ")


@pytest.mark.parametrize("how", ["silently", "exit"])
def test_an_end_without_a_result_is_a_failure(tmp_path, how):
    """papermill reports sys.exit(0) in the middle of a notebook as success."""
    folder, is_done = run(tmp_path, how=how)

    assert not is_done
    assert "without a result" in read_status(folder).why


def test_a_failed_point_runs_again_and_forgets_what_it_left(tmp_path):
    folder, _ = run(tmp_path, how="silently")
    (folder / "result.json").write_text(json.dumps({"metrics": {"psnr": 99}}))
    _, is_done = run(tmp_path, how="silently")

    assert not is_done, "the result of an earlier attempt must not count for this one"
    assert len(attempts(folder)) == 2


def test_the_kernel_is_this_python_whatever_the_machine_calls_python3(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    folder, is_done = run(tmp_path)

    assert is_done
    used = read_json(folder / "result.json")["metrics"]["python_used"]
    assert os.path.samefile(used, os.sys.executable)


def test_a_point_that_another_process_holds_is_left_alone(tmp_path):
    grid, (point,) = read_points(tmp_path, seeds=[0])
    folder = point.folder(grid.results)
    with hold_point(folder), pytest.raises(PointBusyError):
        run_point(grid, point)

    assert attempts(folder) == []


@pytest.mark.slow
def test_memory_that_runs_out_is_named(tmp_path):
    folder, is_done = run(tmp_path, how="memory")
    assert not is_done and read_status(folder).why == "out of memory: MemoryError: no room for 3 GiB"


def test_out_of_memory_has_many_names():
    assert is_out_of_memory("OutOfMemoryError", "CUDA out of memory")
    assert is_out_of_memory("RuntimeError", "DefaultCPUAllocator: can't allocate memory")
    assert not is_out_of_memory("ValueError", "out of range")


@pytest.mark.parametrize("file", ["point.json", "executed.ipynb"])
def test_a_disk_that_takes_no_more_fails_the_point_and_says_so_without_an_engine(tmp_path, monkeypatch, file):
    """What a scheduler calls has nobody else who writes down how it ended."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = {"point.json": "_describe", "executed.ipynb": "papermill.execute_notebook"}[file]
    monkeypatch.setattr(f"mvqlab.grid.execute.{name}", refuse)
    folder, is_done = run(tmp_path)
    assert not is_done and state_of(folder) == "failed"
    assert "No space left on device" in read_status(folder).why
    assert "free some space" in read_status(folder).why
