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
from grid_files import PATIENCE, wait_until

from mvqlab.grid.deadline import Deadline
from mvqlab.grid.process import (
    Slot,
    exit_in_words,
    point_environment,
    share_out,
    stop,
    terminate_like_interrupt,
)
from mvqlab.grid.status import Status, hold_point, read_status, state_of, write_status
from mvqlab.grid.watch import Board, Pace, duration, in_words, read_progress
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
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
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
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_stop_asks_first():
    code = (
        "import time\ntry:\n print('ready', flush=True); time.sleep(600)\nexcept KeyboardInterrupt:\n exit(3)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    process.stdout.readline()
    stop(process, grace=600)
    process.stdout.close()

    assert process.returncode == 3


def test_sigterm_interrupts_like_ctrl_c_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    assert signal.getsignal(signal.SIGTERM) is before


def test_threads_and_gpus_are_shared_out_among_workers(monkeypatch):
    monkeypatch.setattr("mvqlab.grid.process.n_processors", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share_out(3) == [Slot(2, "2"), Slot(2, "5"), Slot(2, "2")]
    assert share_out(1) == [Slot(8, None)], "a single worker sees every GPU there is"
    assert share_out(20)[0].threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert share_out(2)[1].threads == 7, "a number that is set is kept"
    monkeypatch.setenv("OMP_NUM_THREADS", " 3,2")
    assert share_out(2)[1].threads == 3, "the outermost of several levels"
    for nonsense in ("", "many", "0", "-2", "2.5", ",4"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert share_out(2)[1].threads == 4


def test_without_gpus_none_is_shared_out(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert share_out(2)[0].gpu is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert share_out(2)[0].gpu is None, "no nvidia-smi"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0\necho 1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert [slot.gpu for slot in share_out(3)] == ["0", "1", "0"]


def test_a_point_sees_its_slot_and_no_more(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    environment = point_environment(Slot(threads=3, gpu="1"))
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("3", "1")
    assert point_environment(Slot(threads=3))["CUDA_VISIBLE_DEVICES"] == "0,1"


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
    board = Board(stream)
    for point, stage in [("a", "stage 1"), ("b", "stage 1"), ("a", "stage 1"), ("a", "stage 2"), ("b", "")]:
        board.note(point, stage, f"{point}: {stage}")
        board.show(["a live line"])

    assert stream.getvalue() == "a: stage 1\nb: stage 1\na: stage 2\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_lines_are_written_over_and_never_wrap(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    board = Board(_Terminal())
    board.show(["a line that is longer than the terminal", "the grid"])
    board.note("a", "stage 1", "only without a terminal")
    board.say("done")
    wiped_twice = "\r\x1b[2K\x1b[1A\x1b[2K"

    assert board.stream.getvalue() == f"\r\x1b[2Ka line that is long\nthe grid{wiped_twice}done\n"


def test_the_pace_of_a_stage_tells_when_it_ends():
    pace = Pace()
    assert pace.seconds_left({}, at=0) is None
    assert pace.seconds_left({"stage": "one", "step": 100, "steps": 500}, at=10) is None, "resumed at 100"
    assert pace.seconds_left({"stage": "one", "step": 200, "steps": 500}, at=15) == 15
    assert pace.seconds_left({"stage": "two", "step": 1, "steps": 10}, at=20) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7440, "2 h 04 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


DEAF = """
import signal, subprocess, sys, time
from mvqlab.grid.deadline import Deadline
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
with Deadline(0.1, lambda: print("last words", flush=True), grace=0.1):
    time.sleep(600)
"""


def test_a_deadline_kills_what_does_not_listen_with_all_it_started():
    ended = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=PATIENCE)
    child, words = ended.stdout.split("\n")[:2]
    assert (ended.returncode, words) == (1, "last words")
    wait_until(lambda: not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == "zombie")


def test_a_deadline_interrupts_and_one_that_is_kept_does_nothing():
    deadline = Deadline(0.05, lambda: None)
    with pytest.raises(KeyboardInterrupt), deadline:
        time.sleep(PATIENCE)
    assert deadline.is_past
    with Deadline(0.2, lambda: None) as kept:
        pass
    time.sleep(0.3)
    assert not kept.is_past


def test_a_deadline_needs_no_alarm_nor_signals_between_threads(monkeypatch):
    """Windows has neither."""
    monkeypatch.delattr(signal, "pthread_kill", raising=False)
    monkeypatch.delattr(signal, "SIGALRM", raising=False)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Deadline(0.05, lambda: None):
        while time.monotonic() < began + PATIENCE:
            pass


def test_a_limit_that_strikes_as_the_block_ends_interrupts_nothing_after_it(monkeypatch):
    """What follows the block writes the point's status."""
    deadline = Deadline(0.01, lambda: None)
    monkeypatch.setattr("mvqlab.grid.deadline._interrupt_main_thread", lambda: pytest.fail("too late"))
    real_wait = deadline._has_ended.wait
    looked = []

    def wait_too_long(seconds):
        real_wait(seconds)
        looked.append(seconds)
        return False  # the limit was over a moment before the block was

    monkeypatch.setattr(deadline._has_ended, "wait", wait_too_long)
    with deadline:
        pass
    wait_until(lambda: bool(looked))
    assert not deadline.is_past
