"""States and locks of points, stopping processes, progress in words: without a notebook."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from grid_files import wait_until

from mvqlab.grid.process import exit_in_words, point_environment, stop, terminate_like_interrupt
from mvqlab.grid.status import Status, hold_point, read_status, state_of, write_status
from mvqlab.grid.watch import LiveLine, duration, in_words, read_progress
from mvqlab.results import write_progress, write_result


def test_a_point_that_claims_to_run_runs_only_while_its_lock_is_held(tmp_path):
    """After a power cut the status still says running; the point must then start anew."""
    assert state_of(tmp_path) == "waiting"
    with hold_point(tmp_path):
        write_status(tmp_path, Status("running"))
        assert state_of(tmp_path) == "running"
    assert state_of(tmp_path) == "interrupted"


@pytest.mark.parametrize("result", [None, "", '{"metrics": {'])
def test_done_needs_a_whole_result(tmp_path, result):
    write_status(tmp_path, Status("done"))
    if result is not None:
        (tmp_path / "result.json").write_text(result)
    assert state_of(tmp_path) == "interrupted"

    write_result(tmp_path, {"psnr": 20.5})
    assert state_of(tmp_path) == "done"


@pytest.mark.parametrize("content", ["", "[1]", '{"state": "done", "unknown": 1}'])
def test_a_status_that_cannot_be_read_is_no_status(tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) is None
    assert state_of(tmp_path) == "waiting"


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_stop_kills_a_process_that_ignores_ctrl_c_and_its_child_in_another_session():
    """Kernels lead sessions of their own: a signal to the process group does not reach them."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child = psutil.Process(int(process.stdout.readline()))
    stop(process, grace=0.2)
    process.stdout.close()

    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


def test_stop_asks_first():
    code = (
        "import time\ntry:\n print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n exit(3)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    process.stdout.readline()
    stop(process, grace=20)
    process.stdout.close()

    assert process.returncode == 3


def test_sigterm_interrupts_like_ctrl_c_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_count_that_is_set_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert point_environment()["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert point_environment()["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


def test_exit_codes_in_words():
    assert exit_in_words(-9) == "killed by SIGKILL"
    assert exit_in_words(3) == "exit code 3"


def test_the_latest_progress_is_shown_wherever_a_training_writes_it(tmp_path):
    write_progress(tmp_path, "stage 1", 600, 600, loss=0.25)
    os.utime(tmp_path / "progress.json", (1, 1))
    (tmp_path / "stage2").mkdir()
    write_progress(tmp_path / "stage2", "stage 2", 120, 500, loss=1 / 3)

    assert in_words(read_progress(tmp_path)) == "stage 2  120/500  loss 0.3333"


def test_progress_that_is_missing_or_cut_short_is_nothing(tmp_path):
    assert read_progress(tmp_path) == {}
    (tmp_path / "progress.json").write_text(json.dumps({"stage": "x"})[:-2])
    assert read_progress(tmp_path) == {}


def test_without_a_terminal_a_line_stands_for_each_stage():
    stream = io.StringIO()
    line = LiveLine(stream)
    for stage, step in [("stage 1", 1), ("stage 1", 2), ("stage 2", 1)]:
        line.update({"stage": stage, "step": step, "steps": 2}, elapsed=step)

    assert stream.getvalue() == "    stage 1  1/2  (1 s)\n    stage 2  1/2  (1 s)\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_one_line_is_written_over_and_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    line = LiveLine(_Terminal())
    line.update({"stage": "a stage with a long name"}, elapsed=1)
    line.say("done")

    assert line.stream.getvalue() == "\r\x1b[2K    a stage with a \r\x1b[2Kdone\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7440, "2 h 04 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
