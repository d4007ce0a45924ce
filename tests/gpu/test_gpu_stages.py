"""The stages of `mvqlab gpu`, as far as they go without a GPU: every part runs, small, on the CPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mvqlab.cli.main import main
from mvqlab.gpu import check
from mvqlab.gpu.parts import Report, TimedPart, run_parts, write_section
from mvqlab.gpu.step_speed import published
from mvqlab.gpu.toys import toy_pairs, toy_stage2
from mvqlab.gpu.transcription import transcribe
from mvqlab.models.mqvae import build_stage1

ROOT = Path(__file__).parents[2]
# what a machine that brings its own torch may lack
LACKING = ("papermill", "ipywidgets", "lpips", "nbformat", "anywidget", "voila", "nbclient")
CPU = torch.device("cpu")
BLOCKED = f"import sys\nfor name in {LACKING}:\n    sys.modules[name] = None\n"


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # quicker at toy sizes, more so beside other work


def run_stage(stage: str, folder: Path) -> list[dict]:
    """The rows of `mvqlab gpu STAGE` on the CPU at toy sizes, without what may be missing."""
    arguments = ["gpu", stage, "--device", "cpu", "--toy", "--seconds", "400", "--out", str(folder)]
    code = f"{BLOCKED}from mvqlab.cli.main import main\nsys.exit(main({arguments!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ONE_THREAD
    )
    rows = json.loads((folder / f"{stage}.json").read_text())["rows"]
    failed = [row["trace"] or row["note"] for row in rows if row["outcome"] == "failed"]
    assert not failed, "\n".join(failed)
    assert ran.returncode == 0, ran.stderr
    assert f"gpu {stage} on CPU" in ran.stdout
    return rows


@pytest.mark.parametrize(("late", "state"), [(1.0, "ok"), (1.3, "failed"), (float("nan"), "failed")])
def test_losses_that_leave_the_others_or_are_no_numbers_fail(late: float, state: str, tmp_path: Path) -> None:
    report = Report(tmp_path, "check", torch.device("cpu"))
    check._compare(report, "losses", "fp32", [1.0, 1.0, late], [1.0, 1.0, 1.0])
    assert [row.outcome for row in report.rows] == [state]


@pytest.mark.slow
def test_every_check_runs_without_a_gpu(tmp_path: Path) -> None:
    rows = run_stage("check", tmp_path)
    names = " ".join(row["name"] for row in rows)
    for part in (
        "cuda_graph, ends",
        "stage 1: bf16-mixed",
        "training loops",
        "pytest",
        "compiled",
        "two ranks",
    ):
        assert part in names
    (tests,) = (row for row in rows if row["name"] == "pytest -m gpu")
    assert re.search(r"\d+ (skipped|passed)", tests["note"]), "it found no tests"
    assert "## check" in next(tmp_path.glob("*.md")).read_text()


@pytest.mark.parametrize("stage", [["check"], ["bench"], ["train", "5"]], ids=lambda stage: stage[0])
def test_a_machine_without_a_gpu_is_told_what_is_missing(
    stage: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else minutes of a CPU would be taken for what a card has to say, and the exit code for its consent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pack = tmp_path / "pack.zip"
    pack.touch()
    assert main(["gpu", *stage, *(["--pack", str(pack)] if stage[0] == "train" else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no GPU here" in line and "--device cpu" in line
    assert list(tmp_path.iterdir()) == [pack], "nothing is written in a card's name"


@pytest.mark.parametrize("name", ["cpx", "mps", "cuda:x"])
def test_a_device_that_is_none_is_told_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gpu", "check", "--device", name, "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"or cpu, not '{name}'" in line


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_gpu_without_a_gpu_says_so_at_every_stage_and_fails(tmp_path: Path) -> None:
    pack = tmp_path / "carried.zip"
    pack.touch()
    hidden = ONE_THREAD | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = ["make", "gpu", f"PYTHON={sys.executable}", f"PACK={pack}", "SECONDS=5"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=hidden)
    assert ran.returncode != 0
    assert f"packed: {pack}" in ran.stdout
    assert ran.stderr.count("there is no GPU here") == 3, ran.stderr


@pytest.mark.slow
def test_every_measurement_runs_without_a_gpu(tmp_path: Path) -> None:
    rows = run_stage("bench", tmp_path)
    ok = " ".join(row["name"] for row in rows if row["outcome"] == "ok")
    for part in ("bandwidth", "fused kernels", "choosing", "de-mask", "stage-1", "stage-2", "generate"):
        assert part in ok


def test_the_transcription_computes_what_ours_does() -> None:
    config = published(toy=True)
    ours, plain = build_stage1(config).eval(), transcribe(build_stage1(config)).eval()
    plain.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    one, other = ours(images), plain(images)
    assert torch.equal(one.pairs.codes, other.pairs.codes)
    torch.testing.assert_close(one.images, other.images, atol=1e-4, rtol=1e-4)
    stage2 = toy_stage2("code_first")
    pairs = toy_pairs(stage2)
    loss = stage2.loss(pairs).total
    torch.testing.assert_close(transcribe(stage2).loss(pairs).total, loss, atol=1e-4, rtol=1e-4)


def test_rows_are_on_disk_at_once_and_a_part_that_fails_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvqlab.gpu.parts.LEAST", 0.1)
    seen: list[int] = []

    def fail(report: Report) -> None:
        report.add("before", value=2, unit="ms")
        raise KeyError("gone")

    def look(report: Report) -> None:
        seen.append(len(json.loads((tmp_path / "check.json").read_text())["rows"]))
        report.add("after")

    def dawdle(report: Report) -> None:
        while True:
            time.sleep(0.05)

    report = Report(tmp_path, "check", CPU)
    parts = [
        TimedPart("fails", 600.0, fail),
        TimedPart("looks", 600.0, look),
        TimedPart("too long", 0.2, dawdle),
    ]
    run_parts(report, [*parts, TimedPart("no time", 0.05, fail)], 3600.0)
    assert seen == [2]
    outcomes = {row.name: row.outcome for row in report.rows}
    assert outcomes == {
        "before": "ok", "fails": "failed", "after": "ok", "too long": "skipped", "no time": "skipped"
    }  # fmt: skip
    assert "KeyError" in report.rows[1].trace and "in fail" in report.rows[1].trace
    assert report.finish() == 1
    assert "2 ok, 1 failed, 2 skipped" in capsys.readouterr().out


def test_rows_of_an_earlier_process_stay_until_they_are_found_anew(tmp_path: Path) -> None:
    first = Report(tmp_path, "train", CPU)
    first.facts["commit"] = "0abc"  # of another commit
    first.add("one", value=1)
    first.add("two", value=2, note="quick")
    second = Report(tmp_path, "train", CPU, keeps_others=True)
    second.add("two", "skipped")
    second.add("three", value=3)
    kept = {row.name: row for row in second.all_rows()}
    assert list(kept) == ["one", "two", "three"]
    assert kept["two"].value == 2, "what was skipped takes nobody's place"
    assert kept["two"].note == "quick; found with commit 0abc" and kept["three"].note == ""
    second.add("two", value=4)
    assert {row.name: row.value for row in second.all_rows()} == {"one": 1, "two": 4, "three": 3}
    third = Report(tmp_path, "train", CPU, keeps_others=True)
    third.add("four")
    notes = {row["name"]: row["note"] for row in json.loads((tmp_path / "train.json").read_text())["rows"]}
    assert notes["one"] == "found with commit 0abc" and notes["three"] == ""
    assert len(Report(tmp_path, "train", CPU).all_rows()) == 0, "a stage that is run as a whole begins anew"


def test_a_summary_has_twenty_lines_at_most_and_faults_first(tmp_path: Path) -> None:
    report = Report(tmp_path, "check", CPU)
    for number in range(30):
        report.add(f"row {number}")
    report.failed("the fault", ValueError("no"))
    lines = report.summary()
    assert len(lines) == 20
    assert "the fault" in lines[1] and "13 more rows" in lines[-1]


def test_a_section_is_replaced_and_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "card.md"
    for stage, text in (("check", "old"), ("bench", "quick"), ("check", "new")):
        write_section(page, "Card", stage, text)
    text = page.read_text()
    assert "old" not in text and text.count("new") == text.count("quick") == 1
    assert text.startswith("# Card\n") and text.index("new") < text.index("quick")
