"""Arrays on a real SLURM of one node: points run, are killed, cancelled, timed out, and go on afterwards."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from grid_files import attempts, read_points, tiny_base, wait_until, write_grid
from slurm_node import can_run, queue, slurm_node

from mvqlab.cli import main as cli
from mvqlab.grid.slurm import largest_array, submit_grid
from mvqlab.grid.spec import GridError
from mvqlab.grid.status import read_status, state_of

needs_slurm = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_run(), reason="needs root, slurm-wlm and munge"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with slurm_node(tmp_path_factory.mktemp("slurm")):
        yield


def points_of(tmp_path, **entries):
    grid, points = read_points(tmp_path, **entries)
    return grid.path, [point.folder(grid.results) for point in points]


def submitted(path, **options):
    stream = io.StringIO()
    return submit_grid(path, stream=stream, **options), stream.getvalue()


class TestOnARealNode:
    pytestmark = needs_slurm

    def test_every_point_runs_and_only_what_is_left_is_submitted_again(self, node, tmp_path):
        entries = {"points": [{"label": "good"}, {"label": "bad", "how": "badly"}], "base": {"steps": 1}}
        path, (good, bad) = points_of(tmp_path, **entries)
        array, words = submitted(path, resources={"parallel": 1})
        assert f"scancel {array}" in words and "2 points submitted" in words
        wait_until(lambda: state_of(good) == "done" and state_of(bad) == "failed")
        assert read_status(bad).why == "ArithmeticError: two lines of trouble"
        assert submitted(path)[0] == "", "the failed point waits for retry_failed"
        wait_until(lambda: queue() == "")

        assert submitted(path, retry_failed=True)[0]
        wait_until(lambda: len(attempts(bad)) == 2 and state_of(bad) == "failed")
        assert len(attempts(good)) == 1

    def test_a_job_trains(self, node, tmp_path):
        """Libraries of training loops know SLURM, and must not take the job for one of their own."""
        notebook = Path(__file__).parents[2] / "notebooks" / "ablation_point.ipynb"
        path, (folder,) = points_of(tmp_path, notebook=str(notebook), base=tiny_base(), seeds=[0])
        submitted(path)
        wait_until(lambda: state_of(folder) in ("done", "failed"))
        assert state_of(folder) == "done", read_status(folder)

    def test_a_killed_job_and_a_cancelled_one_lose_nothing_that_is_done(self, node, tmp_path):
        path, (killed, cancelled, done) = points_of(
            tmp_path,
            points=[
                {"label": "killed", "how": "slowly at first", "seed": 1},
                {"label": "cancelled", "how": "slowly at first"},
                {"label": "done", "steps": 1},
            ],
        )
        array, _ = submitted(path, resources={"cpus": 1})
        wait_until(lambda: attempts(killed) and attempts(cancelled))
        (process,) = _processes_of(path, index=0)
        os.kill(process, signal.SIGKILL)
        subprocess.run(["scancel", f"{array}_1"], check=True)
        wait_until(lambda: state_of(done) == "done")
        wait_until(lambda: queue() == "")
        assert state_of(killed) == "interrupted"
        assert state_of(cancelled) in ("stopped", "interrupted")

        submitted(path)
        wait_until(lambda: state_of(killed) == state_of(cancelled) == "done")
        assert [len(attempts(folder)) for folder in (killed, cancelled, done)] == [2, 2, 1]

    def test_more_points_than_an_array_holds_go_into_several(self, node, tmp_path, monkeypatch):
        assert largest_array() == 1001, "SLURM's default"
        monkeypatch.setattr("mvqlab.grid.slurm.largest_array", lambda: 2)
        path, folders = points_of(tmp_path, base={"steps": 1}, seeds=[0, 1, 2])
        arrays, words = submitted(path)
        assert len(arrays.split()) == 2 and f"scancel {arrays}" in words
        wait_until(lambda: [state_of(folder) for folder in folders] == ["done"] * 3)
        assert [len(attempts(folder)) for folder in folders] == [1, 1, 1]

    def test_a_job_whose_time_is_up_says_so(self, node, tmp_path):
        """SLURM looks at its clock twice a minute, and warns at once where a job asked for one minute."""
        path, (folder,) = points_of(tmp_path, points=[{"how": "slowly at first"}])
        for _ in range(3):  # on a busy machine Python is not up before the first warning comes
            submitted(path, resources={"minutes": 1})
            wait_until(lambda: queue() == "")
            if read_status(folder) is not None:
                break
        assert read_status(folder).why == "time limit: the scheduler's time was up"


def _processes_of(path, index):
    wanted = f"grid run-one {path} --index {index} "
    return [p.pid for p in psutil.process_iter(["cmdline"]) if wanted in " ".join(p.info["cmdline"] or [])]


def test_without_slurm_the_reason_is_said_and_nothing_is_submitted(tmp_path, monkeypatch):
    path = write_grid(tmp_path, seeds=[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GridError, match="needs SLURM's `sbatch`"):
        submit_grid(path)
    monkeypatch.setattr("mvqlab.grid.slurm.find_spec", lambda name: None)
    with pytest.raises(GridError, match=r"pip install 'mvqlab\[slurm\]'"):
        submit_grid(path)


def test_resources_without_slurm_are_refused(tmp_path, capsys):
    path = write_grid(tmp_path, seeds=[0])
    assert cli.main(["grid", "run", str(path), "--memory-gb", "4"]) == 2
    assert "--memory-gb is for --slurm" in capsys.readouterr().err
    assert cli.main(["grid", "run", str(path), "--slurm", "--workers", "2"]) == 2
    assert "--parallel says how many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "number"),
    [
        (option, number)
        for option in ("--minutes", "--memory-gb", "--cpus", "--gpus", "--parallel")
        for number in ("0", "-1", "1000000000000")
        if (option, number) != ("--gpus", "0")
    ],
)
def test_what_no_cluster_has_is_refused_in_one_line(option, number, tmp_path, capsys):
    path = write_grid(tmp_path, seeds=[0])
    assert cli.main(["grid", "run", str(path), "--slurm", option, number]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option}: Input should be " in line and number in line
