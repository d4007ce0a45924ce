"""The command line: quick to answer, clear about mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from grid_files import write_grid

from mvqlab.cli import main as cli
from mvqlab.config import preset_names


def test_help_loads_nothing_heavy():
    """`mvqlab --help` must answer at once: torch alone takes seconds to load."""
    code = "import sys, mvqlab.cli.main as cli; cli.build_parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"torch", "pandas", "numpy", "pydantic", "papermill", "yaml"} & set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [[], ["grid"], ["grid", "run"], ["grid", "run-one", "x.yaml"], ["train", "--stage", "3"], ["tarin"]],
)
def test_a_command_that_is_not_whole_exits_2_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main(arguments)
    assert exited.value.code == 2
    assert "usage: mvqlab" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "run", "table"])
def test_a_missing_grid_file_is_one_message(command, tmp_path, capsys):
    assert cli.main(["grid", command, str(tmp_path / "absent.yaml")]) == 2
    assert capsys.readouterr().err == f"mvqlab: there is no grid file at {tmp_path / 'absent.yaml'}\n"


def test_a_port_that_there_is_not_is_refused_before_anything_starts(capsys) -> None:
    assert cli.main(["explore", "--port", "99999"]) == 2
    assert "--port goes from 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["nan", "inf", "0", "-1", "soon"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "quality", "--seconds"],
        ["bench", "quality", "--looks"],
        ["course", "grade", "a.ipynb", "folder", "--minutes"],
        ["gpu", "train"],
        ["gpu", "check", "--seconds"],
    ],
    ids=" ".join,
)
def test_times_and_counts_are_finite_and_above_0(arguments, number, capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main([*arguments, number] if number != "-1" else [*arguments[:-1], f"{arguments[-1]}={number}"])
    assert exited.value.code == 2 and ("must be a" in capsys.readouterr().err or number == "-1")


def test_a_misspelt_setting_of_train_is_one_message(capsys):
    assert cli.main(["train", "--stage", "1", "mask.mask_ration=0.5"]) == 2
    assert "did you mean 'mask.mask_ratio'?" in capsys.readouterr().err


def test_a_fault_of_mvqlab_itself_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "_presets", lambda options: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["presets"])


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (FloatingPointError("the loss is nan"), 2)]
)
def test_ctrl_c_and_a_loss_that_is_not_finite_end_without_a_traceback(monkeypatch, error, code):
    def fail(options):
        raise error

    monkeypatch.setattr(cli, "_presets", fail)
    assert cli.main(["presets"]) == code


def test_presets_are_listed_with_what_they_are_for(capsys):
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert all(len(line.split()) > 3 for line in lines)


def test_columns_are_explained(capsys):
    assert cli.main(["grid", "columns"]) == 0
    assert "peak signal-to-noise ratio" in capsys.readouterr().out


def test_an_unknown_bench_suite_is_refused_before_anything_is_measured(capsys):
    assert cli.main(["bench", "demsak"]) == 2
    assert "no suite 'demsak'" in capsys.readouterr().err


def test_run_one_refuses_an_index_that_is_not_there(tmp_path, capsys):
    path = write_grid(tmp_path, seeds=[0])
    assert cli.main(["grid", "run-one", str(path), "--index", "4"]) == 2
    assert "there is no point 4" in capsys.readouterr().err


def test_train_hands_settings_folders_and_resume_on(tmp_path, monkeypatch):
    """Stage 2 needs the trained stage 1: by default the run of the same preset."""
    calls = []
    monkeypatch.setattr("mvqlab.training.load_stage1", lambda folder: f"model of {folder}")
    monkeypatch.setattr(
        "mvqlab.training.train_stage2",
        lambda config, stage1, folder, *, resume, allow_changes: calls.append(
            (config.stage2.steps, stage1, folder, resume, allow_changes)
        ),
    )
    cli.main(["train", "--stage", "2", "--out", str(tmp_path / "run"), "--resume", "stage2.steps=17"])

    assert calls == [(17, "model of results/shapes32/stage1", tmp_path / "run", True, False)]


def test_train_never_writes_over_a_trained_model_unasked(tmp_path, capsys):
    (tmp_path / "weights.safetensors").write_bytes(b"a day of work")
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path)]) == 2
    assert "--resume goes on with it, --fresh trains over it" in capsys.readouterr().err
    assert (tmp_path / "weights.safetensors").read_bytes() == b"a day of work"


@pytest.mark.parametrize("name", ["state.pt", "state.previous.pt"])
def test_train_never_writes_over_an_unfinished_run_unasked(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"half a day of work")
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path)]) == 2
    assert "holds an unfinished run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_train_never_writes_over_the_settings_that_it_was_given(tmp_path, capsys):
    settings = tmp_path / "config.yaml"
    settings.write_text("seed: 3  # by hand\n")
    assert cli.main(["train", "--preset", str(settings), "--stage", "1", "--out", str(tmp_path)]) == 2
    assert "its own settings" in capsys.readouterr().err
    assert settings.read_text() == "seed: 3  # by hand\n"


def test_train_either_goes_on_or_starts_anew(tmp_path, capsys):
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path), "--resume", "--fresh"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_stage_1_learns_from_no_stage_1(tmp_path, capsys):
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path), "--stage1", str(tmp_path)]) == 2
    assert "--stage 2" in capsys.readouterr().err


def test_pictures_of_another_model_never_go_among_the_kept_ones(capsys):
    assert cli.main(["results", "make", "reconstructions_emoji", "--model", "simple_mqvae"]) == 2
    assert "give --out FOLDER" in capsys.readouterr().err


def test_settings_may_stand_on_both_sides_of_an_option(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(
        "mvqlab.training.train_stage1",
        lambda config, folder, **_: said.append((config.seed, config.stage1.steps)),
    )
    cli.main(["train", "--stage", "1", "seed=3", "--out", str(tmp_path / "run"), "stage1.steps=17"])
    assert said == [(3, 17)]


def test_stage2_never_trains_into_its_stage1(tmp_path, capsys):
    folder = str(tmp_path)
    assert cli.main(["train", "--stage", "2", "--out", folder, "--stage1", folder]) == 2
    assert "stage 2 needs a folder of its own" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_said_before_the_training(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path / "file" / "run")]) == 2
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_reader_that_has_enough_gets_no_traceback(is_buffered):
    command = [sys.executable, *([] if is_buffered else ["-u"]), "-m", "mvqlab", "grid", "columns"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        words = process.stderr.read()
    assert "Error" not in words and "Traceback" not in words


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--stage", "1", "--out", os.fsdecode(b"caf\xe9")],
        ["train", "--stage", "1", os.fsdecode(b"data.root=\xff")],
        ["sample", "--model", os.fsdecode(b"\xff")],
        ["grid", "status", os.fsdecode(b"\xff.yaml")],
        [os.fsdecode(b"\xff")],
    ],
    ids=["out", "setting", "model", "grid", "command"],
)
def test_a_word_that_is_not_utf8_is_refused_before_anything_starts(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert "not UTF-8" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["0", "2147483648", "1" + "0" * 5000])
@pytest.mark.parametrize("option", ["--heads", "--classes", "--resolution"])
def test_no_heads_and_too_many_are_refused_before_the_checkpoint_is_read(
    option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["import-official", "missing.ckpt", "out", option, number])
    assert f"{option}: must be a whole number from 1 on" in capsys.readouterr().err
