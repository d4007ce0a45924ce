"""Curves for Weights & Biases, offline: nothing leaves this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tiny_runs import TINY

from mvqlab.cli.main import main
from mvqlab.config import load_config
from mvqlab.training.loggers import WANDB_RUN, NoLoggerError, wandb_logger


def test_without_wandb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(NoLoggerError, match=r"pip install 'mvqlab\[wandb\]'"):
        wandb_logger(tmp_path, "lab", load_config("shapes32"))


@pytest.mark.slow
def test_a_run_is_kept_offline_and_goes_on_as_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    command = ["train", "--stage", "1", "--out", str(folder), "--wandb", "lab"]
    assert main([*command, *TINY]) == 0
    name = (folder / WANDB_RUN).read_text().strip()
    assert list((folder / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    longer = [word for word in TINY if not word.startswith("stage1.steps=")]
    assert main([*command, *longer, "stage1.steps=5", "--resume"]) == 0
    assert (folder / WANDB_RUN).read_text().strip() == name
