"""Disk, memory and rights that run out are told in one line; locks say who holds them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny_overrides

from mvqlab.cli import main as cli
from mvqlab.support import progress
from mvqlab.support.faults import explained, is_out_of_memory
from mvqlab.support.files import CacheError, writable_folder
from mvqlab.support.locks import HeldError, held, is_held


def out_of_memory_of_torch() -> Exception:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    return raised.value


def out_of_memory_of_numpy() -> Exception:
    with pytest.raises(MemoryError) as raised:
        np.zeros(2**60, dtype=np.uint8)
    return raised.value


@pytest.mark.parametrize("error", [out_of_memory_of_torch(), out_of_memory_of_numpy(), MemoryError()])
def test_memory_that_ran_out_is_told_with_what_to_do(error: Exception) -> None:
    words = explained(error)
    assert words is not None and words.startswith("out of memory") and "batch_size" in words
    assert "\n" not in words


def test_other_faults_are_not_taken_for_memory() -> None:
    assert is_out_of_memory("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB")
    assert not is_out_of_memory("ValueError", "out of memory")
    assert explained(RuntimeError("shapes cannot be multiplied")) is None
    assert explained(OSError("without a number")) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "RuntimeError",
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
        ),
        ("AcceleratorError", "CUDA error: out of memory"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9 GB)"),
        (
            "RuntimeError",
            "DataLoader worker is killed. It is possible that workers are out of shared memory.",
        ),
    ],
)
def test_every_device_s_words_for_memory_are_known(name: str, message: str) -> None:
    assert is_out_of_memory(name, message)


def test_of_many_files_that_could_not_be_copied_one_is_told() -> None:
    failed = [("a", "b/a", "[Errno 28] No space left on device: 'b/a'"), ("c", "b/c", "the same")]
    words = explained(shutil.Error(failed))
    assert words is not None and "No space left on device: 'b/a'" in words and "the same" not in words


@pytest.mark.parametrize(
    "code", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EMFILE", "EFBIG", "ENAMETOOLONG"]
)
def test_the_system_s_refusals_are_one_line_and_no_traceback(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, code)

    def refuse(options: object) -> int:
        raise OSError(number, os.strerror(number), "results/run/state.pt")

    monkeypatch.setattr(cli, "_presets", refuse)
    assert cli.main(["presets"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "results/run/state.pt" in line and os.strerror(number) in line
    assert line.count(": ") >= 3, "what to do follows the reason"


def test_a_training_cut_short_by_the_machine_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        (tmp_path / "state.pt").touch()
        raise out_of_memory_of_torch()

    monkeypatch.setattr("mvqlab.training.train_stage1", refuse)
    given = ["train", "--stage", "1", "--fresh", "--out", str(tmp_path), "stage1.steps=4"]
    assert cli.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"mvqlab train --stage 1 --out {tmp_path} stage1.steps=4 --resume")
    options = cli.build_parser().parse_args(["train", "--stage", "1", "--out", str(tmp_path), "--resume"])
    assert (options.resume, options.fresh) == (True, False)


def test_a_folder_whose_name_is_too_long_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--stage", "1", "--out", "x" * 300]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "shorter name" in line


def test_a_cache_that_cannot_be_written_is_told_in_one_line() -> None:
    with pytest.raises(CacheError) as raised:
        writable_folder(Path(__file__) / "cache", "things")
    words = cli.in_one_line(raised.value)
    assert words is not None and "MVQLAB_CACHE" in words


LIMITED = """
import resource, sys
from mvqlab.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_training_that_may_not_write_its_weights_ends_in_one_line_and_goes_on_later(tmp_path: Path) -> None:
    settings = tiny_overrides("stage1.steps=4", "stage1.checkpoint_every=2")
    run = ["train", "--stage", "1", "--out", str(tmp_path), *settings]
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, *run]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MVQLAB_QUIET": "1"})
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert str(tmp_path) in ended.stderr.splitlines()[-1]
    assert "--resume" not in ended.stderr, "there is nothing yet to go on with"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".mvqlab-")]
    assert not list(tmp_path.glob("weights*")), "nothing is half-written"
    again = subprocess.run([sys.executable, "-W", "ignore", "-m", "mvqlab", *run, "--fresh"])
    assert again.returncode == 0


def test_progress_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(progress, "write_text_whole", refuse)
    with progress.Progress("stage 1", 1, folder=tmp_path) as bar:
        bar.advance(loss=1.0)
    assert bar.step == 1


HOLDER = """
import sys, time
from pathlib import Path
from mvqlab.support.files import CacheError, writable_folder
from mvqlab.support.locks import held
with held(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_says_who_holds_it_and_is_let_go_of_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(HeldError, match=rf"in use \(process {holder.pid} on "), held(path, "in use", 0.0):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not is_held(path)
    with held(path, "in use"):
        assert is_held(path)
