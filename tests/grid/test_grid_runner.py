"""The engine with real processes: what goes wrong in one point stays there, and nothing runs twice."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from grid_files import (
    PATIENCE,
    attempts,
    read_points,
    run_grid_process,
    start_grid,
    tell,
    tiny_base,
    wait_until,
    write_grid,
)
from halts import halting

from mvqlab.grid.runner import BUSY, run_grid
from mvqlab.grid.spec import GridError
from mvqlab.grid.status import Status, hold_point, read_status, state_of, write_status

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "ablation_point.ipynb"


def folders_of(tmp_path, **entries):
    """The folders of the points of a grid with `entries`, whose file is written too."""
    grid, points = read_points(tmp_path, **entries)
    return [point.folder(grid.results) for point in points]


def kernel_is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_fault_in_the_last_point_stops_the_grid_before_the_first_starts(tmp_path):
    path = write_grid(tmp_path, points=[{"steps": 1}, {"ratoi": 0.5}])
    with pytest.raises(GridError, match="did you mean 'ratio'"):
        run_grid(path, stream=io.StringIO())
    assert not (tmp_path / "results").exists()


def test_an_index_that_does_not_exist_is_refused(tmp_path):
    path = write_grid(tmp_path, seeds=[0, 1])
    with pytest.raises(GridError, match=r"no point 5: indices go from 0 to 1"):
        run_grid(path, only=[1, 5])


@pytest.mark.slow
def test_a_failing_point_does_not_stop_the_rest_and_only_it_runs_again(tmp_path):
    entries = {"points": [{"label": "bad", "how": "badly"}, {"label": "good"}], "base": {"steps": 1}}
    bad, good = folders_of(tmp_path, **entries)
    stream = io.StringIO()

    assert run_grid(tmp_path / "toy_grid.yaml", stream=stream) == 1
    words = stream.getvalue()
    assert "[1/2] bad" in words and "[2/2] good" in words
    assert "ArithmeticError: two lines of trouble" in words
    assert (state_of(bad), state_of(good)) == ("failed", "done")
    assert "two lines" in (bad / "log.txt").read_text()

    assert run_grid(tmp_path / "toy_grid.yaml", stream=stream) == 1
    assert "bad: failed before (ArithmeticError" in stream.getvalue()
    assert (len(attempts(bad)), len(attempts(good))) == (1, 1)
    assert run_grid(tmp_path / "toy_grid.yaml", retry_failed=True, stream=stream) == 1
    assert (len(attempts(bad)), len(attempts(good))) == (2, 1)

    anew = io.StringIO()
    assert run_grid(tmp_path / "toy_grid.yaml", only=[1], fresh=True, stream=anew) == 0
    assert "1 points, 0 done already" in anew.getvalue()
    assert len(attempts(good)) == 1, "fresh discards what earlier attempts left"


@pytest.mark.slow
def test_the_time_limit_ends_a_point_and_its_kernel(tmp_path):
    (folder,) = folders_of(tmp_path, points=[{"how": "slowly at first"}], time_limit=8)

    assert run_grid(tmp_path / "toy_grid.yaml", stream=io.StringIO()) == 1
    assert read_status(folder).why == "time limit: stopped after 8 s"
    assert state_of(folder) == "failed"
    wait_until(lambda: all(map(kernel_is_gone, attempts(folder))))


@pytest.mark.slow
def test_the_time_limit_holds_without_the_engine(tmp_path):
    (folder,) = folders_of(tmp_path, points=[{"how": "slowly at first"}], time_limit=8)
    engine = start_grid(tmp_path / "toy_grid.yaml")
    wait_until(lambda: bool(attempts(folder)))
    engine.kill()
    engine.communicate()
    wait_until(lambda: state_of(folder) == "failed")
    assert read_status(folder).why == "time limit: stopped after 8 s"
    wait_until(lambda: all(map(kernel_is_gone, attempts(folder))))


@pytest.mark.slow
def test_a_folder_that_takes_no_words_fails_its_own_point_alone(tmp_path):
    """A log that is a folder, a point's folder that is a file: these points fail, in one line each."""
    points = [{"label": "log", "steps": 1}, {"label": "file", "steps": 2}, {"label": "good", "steps": 3}]
    log, file, good = folders_of(tmp_path, points=points)
    (log / "log.txt").mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    file.write_text("not a folder")
    stream = io.StringIO()

    assert run_grid(tmp_path / "toy_grid.yaml", stream=stream) == 1
    words = stream.getvalue()
    assert words.count("FAILED") == 2 and "1 of 3 points done, 2 failed" in words
    assert read_status(log).state == "failed" and "Is a directory" in read_status(log).why
    assert (file.read_text(), state_of(good)) == ("not a folder", "done")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_grid_says_so_leaves_no_kernel_and_goes_on_later(tmp_path, number):
    done, slow = folders_of(tmp_path, points=[{"steps": 1}, {"how": "slowly at first"}])
    path = tmp_path / "toy_grid.yaml"
    process = start_grid(path)
    wait_until(lambda: bool(attempts(slow)))
    process.send_signal(number)
    words, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert "cut short" in words and f"mvqlab grid run {path}" in words
    assert (state_of(done), state_of(slow)) == ("done", "stopped")
    wait_until(lambda: all(map(kernel_is_gone, attempts(slow))))

    code, words = run_grid_process(path)
    assert code == 0, words
    assert (len(attempts(done)), len(attempts(slow))) == (1, 2)


@pytest.mark.slow
def test_a_point_whose_process_is_killed_is_failed(tmp_path):
    """The killed process cannot write its own status: the engine does."""
    (folder,) = folders_of(tmp_path, points=[{"how": "slowly at first"}])
    engine = start_grid(tmp_path / "toy_grid.yaml")
    wait_until(lambda: bool(attempts(folder)))
    (point,) = psutil.Process(engine.pid).children()
    point.kill()
    engine.communicate(timeout=PATIENCE)

    assert engine.returncode == 1
    assert state_of(folder) == "failed"
    assert read_status(folder).why.startswith("killed by SIGKILL")
    wait_until(lambda: all(map(kernel_is_gone, attempts(folder))))


@pytest.mark.slow
def test_a_point_outlives_a_killed_engine_and_is_not_started_twice(tmp_path):
    (folder,) = folders_of(tmp_path, points=[{"how": "until told"}])
    path = tmp_path / "toy_grid.yaml"
    engine = start_grid(path)
    wait_until(lambda: bool(attempts(folder)))
    engine.kill()
    engine.communicate()
    code, words = run_grid_process(path)
    tell(folder)

    assert (code, len(attempts(folder))) == (BUSY, 1), "0 would say that the point is done"
    assert "another process is running it" in words
    wait_until(lambda: state_of(folder) == "done")


@pytest.mark.slow
def test_two_engines_at_once_run_no_point_twice(tmp_path):
    folders = folders_of(tmp_path, seeds=[0, 1], base={"steps": 15})
    engines = [start_grid(tmp_path / "toy_grid.yaml") for _ in range(2)]
    for engine in engines:
        words, _ = engine.communicate(timeout=PATIENCE)
        assert engine.returncode in (0, BUSY), words

    assert [len(attempts(folder)) for folder in folders] == [1, 1]
    assert [state_of(folder) for folder in folders] == ["done", "done"]


@pytest.mark.slow
def test_a_point_held_elsewhere_is_no_failure_of_this_grid(tmp_path):
    (folder,) = folders_of(tmp_path, seeds=[0])
    stream = io.StringIO()
    with hold_point(folder):
        code = run_grid(tmp_path / "toy_grid.yaml", stream=stream)

    assert code == BUSY
    assert "another process is running it" in stream.getvalue()
    assert "1 not done, left to another process: 0 (waiting)" in stream.getvalue()
    assert os.listdir(folder) and read_status(folder) is None


@pytest.mark.slow
def test_a_grid_file_edited_while_its_grid_runs_does_not_run_another_point_under_the_old_name(tmp_path):
    """The engine names points by index: after the edit, index 1 would be another point."""
    base = {"how": "until told"}
    first, second = folders_of(tmp_path, seeds=[0, 1], base=base)
    engine = start_grid(tmp_path / "toy_grid.yaml")
    wait_until(lambda: bool(attempts(first)))
    (edited,) = folders_of(tmp_path, seeds=[7, 8], base=base)[1:]
    tell(first)
    words, _ = engine.communicate(timeout=PATIENCE)

    assert engine.returncode == 1
    assert "point 1 is not what it was when the grid started" in words
    assert "1 not done: the grid file, its notebook, a preset or mvqlab has changed" in words
    assert (state_of(first), state_of(second)) == ("done", "waiting")
    assert attempts(second) == attempts(edited) == []


@pytest.mark.slow
def test_points_that_are_added_while_a_grid_runs_change_nothing_for_the_others(tmp_path):
    base = {"how": "until told"}
    first, second = folders_of(tmp_path, seeds=[0, 1], base=base)
    engine = start_grid(tmp_path / "toy_grid.yaml")
    wait_until(lambda: bool(attempts(first)))
    added = folders_of(tmp_path, seeds=[7, 0, 1], base=base)[0]
    for folder in (first, second):
        wait_until(lambda folder=folder: bool(attempts(folder)))
        tell(folder)
    words, _ = engine.communicate(timeout=PATIENCE)
    assert engine.returncode == 0, words
    assert (state_of(first), state_of(second), attempts(added)) == ("done", "done", [])


@pytest.mark.slow
def test_the_engine_never_writes_over_a_point_that_another_process_runs(tmp_path, monkeypatch):
    (folder,) = folders_of(tmp_path, seeds=[0])
    running = Status("running", started="now")
    monkeypatch.setattr("mvqlab.grid.runner.BUSY", -1)  # any way in which a child ends beside a held point
    with hold_point(folder):
        write_status(folder, running)
        stream = io.StringIO()
        run_grid(tmp_path / "toy_grid.yaml", stream=stream)
        assert "FAILED after" in stream.getvalue()
        assert read_status(folder) == running


@pytest.mark.slow
def test_two_workers_run_two_points_at_a_time(tmp_path):
    """Each point waits for its neighbour, so one after the other they would never end."""
    folders = folders_of(tmp_path, seeds=[0, 1, 2, 3], base={"how": "together", "steps": 1}, time_limit=600)
    stream = io.StringIO()
    assert run_grid(tmp_path / "toy_grid.yaml", workers=2, stream=stream) == 0, stream.getvalue()
    assert [state_of(folder) for folder in folders] == ["done"] * 4


@pytest.mark.slow
def test_a_stopped_grid_of_two_workers_leaves_no_kernel(tmp_path):
    folders = folders_of(tmp_path, seeds=[0, 1, 2], base={"how": "slowly at first"})
    engine = start_grid(tmp_path / "toy_grid.yaml", "--workers", "2")
    wait_until(lambda: all(attempts(folder) for folder in folders[:2]))
    engine.send_signal(signal.SIGINT)
    engine.communicate(timeout=PATIENCE)
    assert engine.returncode == 130
    assert [state_of(folder) for folder in folders] == ["stopped", "stopped", "waiting"]
    wait_until(lambda: all(kernel_is_gone(pid) for folder in folders for pid in attempts(folder)))


@pytest.mark.parametrize("workers", [0, -1, 10**12])
def test_no_workers_and_too_many_are_refused(workers, tmp_path):
    with pytest.raises(GridError, match=f"--workers must be at least 1 and at most .*, not {workers}"):
        run_grid(write_grid(tmp_path, seeds=[0]), workers=workers)


@pytest.mark.slow
def test_a_point_whose_scheduler_says_that_time_is_nearly_up_says_so_and_ends_its_kernel(tmp_path):
    (folder,) = folders_of(tmp_path, points=[{"how": "slowly at first"}])
    command = [sys.executable, "-m", "mvqlab", "grid", "run-one", str(tmp_path / "toy_grid.yaml")]
    process = subprocess.Popen(
        [*command, "--index", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: attempts(folder))
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE) == 130
    assert (state_of(folder), read_status(folder).why) == (
        "failed",
        "time limit: the scheduler's time was up",
    )
    wait_until(lambda: all(kernel_is_gone(pid) for pid in attempts(folder)))


def _is_halted(engine: subprocess.Popen[str]) -> bool:
    with suppress(psutil.NoSuchProcess):  # one that ended while it was looked at
        family = psutil.Process(engine.pid).children(recursive=True)
        return any(member.status() == psutil.STATUS_STOPPED for member in family)
    return False


@pytest.mark.slow
def test_a_training_whose_kernel_is_killed_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """A real point, killed in the middle of stage 1: the next run takes the steps that are left, no more."""
    base = tiny_base("stage1.steps=15", "stage1.checkpoint_every=5", "stage1.log_every=1")
    (folder,) = folders_of(tmp_path, notebook=str(NOTEBOOK), base=base, seeds=[0])
    path = tmp_path / "toy_grid.yaml"
    with monkeypatch.context() as patched:
        for name, value in halting(tmp_path / "halt", "state.pt", 2, signal.SIGSTOP).items():
            patched.setenv(name, value)
        engine = start_grid(path)
    wait_until(lambda: _is_halted(engine))
    family = [psutil.Process(engine.pid), *psutil.Process(engine.pid).children(recursive=True)]
    for member in family:
        member.kill()
    engine.communicate()
    wait_until(lambda: state_of(folder) == "interrupted")
    (training,) = (folder.parent / "stage1").iterdir()
    saved = torch.load(training / "state.pt", weights_only=True)["step"]
    seconds = pd.read_csv(training / "curves.csv").query("step <= @saved")["seconds"].tolist()

    code, words = run_grid_process(path)
    assert code == 0, words
    rows = pd.read_csv(folder / "stage1" / "curves.csv").query("split == 'train'")
    assert rows["step"].tolist() == list(range(1, 16))
    # what was logged before the kill is still there, so those steps were not taken again
    assert saved == 10 and rows["seconds"].tolist()[:saved] == seconds


class _FullDisk(io.StringIO):
    """A log on a disk that is full once the first point runs."""

    def write(self, text: str) -> int:
        if "stage" in text or "done in" in text or "FAILED" in text:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.slow
def test_an_engine_that_cannot_go_on_leaves_no_point_running(tmp_path):
    points = [{"how": "badly"}, {"label": "other", "how": "slowly at first"}]
    _, other = folders_of(tmp_path, points=points)
    with pytest.raises(OSError, match="No space"):
        run_grid(tmp_path / "toy_grid.yaml", workers=2, stream=_FullDisk())
    assert state_of(other) in ("waiting", "stopped")
    wait_until(lambda: all(map(kernel_is_gone, attempts(other))))
