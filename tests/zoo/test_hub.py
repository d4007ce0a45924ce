"""Models laid out for others: they load as they were, and say what is wrong where there is no network."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import write_run

from mvqlab.training import load_stage1
from mvqlab.training.tokens import weights_hash
from mvqlab.zoo import hub
from mvqlab.zoo.hub import HubError, from_pretrained, push_to_hub, save_pretrained
from mvqlab.zoo.trained import Trained, load_trained

pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a stage 1 and of a transformer of captions."""
    return write_run(tmp_path_factory.mktemp("runs"), "captions")


def test_a_transformer_comes_back_with_its_stage_1(runs: tuple[Path, Path], tmp_path: Path) -> None:
    stage1, stage2 = runs
    (stage2 / "state.pt").write_bytes(b"for training alone")
    folder = save_pretrained(stage2, tmp_path / "model", stage1)
    assert not list(folder.rglob("state.pt")) and "from_pretrained" in (folder / "README.md").read_text()
    moved = folder.rename(tmp_path / "elsewhere")
    back, before = from_pretrained(moved), load_trained(stage2, stage1)
    assert isinstance(back, Trained) and back.config == before.config
    for one, other in ((back.model, before.model), (back.stage1, before.stage1)):
        assert weights_hash(one) == weights_hash(other)


def test_a_stage_1_comes_back_alone(runs: tuple[Path, Path], tmp_path: Path) -> None:
    back = from_pretrained(save_pretrained(runs[0], tmp_path / "model"))
    before = load_stage1(runs[0])
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), before.parameters(), strict=True))


def test_a_shipped_transformer_brings_its_stage_1_and_its_card(tmp_path: Path) -> None:
    folder = save_pretrained("simple_stackformer", tmp_path / "model")
    assert "simple_mqvae" in (folder / "README.md").read_text()
    assert isinstance(from_pretrained(folder), Trained)


def test_what_does_not_load_is_not_laid_out(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(HubError, match=r"no run of stage1.*config\.yaml"):
        save_pretrained(tmp_path / "empty", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(HubError, match="holds something already"):
        save_pretrained(runs[0], runs[1])
    with pytest.raises(HubError, match="holds no model of mvqlab"):
        from_pretrained(tmp_path)


def test_what_is_pushed_is_what_is_fetched(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a folder for a Hub."""

    class Api:
        def __init__(self, **_: Any) -> None: ...

        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            return f"there/{name}"

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, tmp_path / repo_id)

    fake = SimpleNamespace(HfApi=Api, snapshot_download=lambda name, **_: str(tmp_path / name))
    monkeypatch.setattr(hub, "_hub", lambda: fake)
    assert push_to_hub(runs[1], "me/mine", runs[0]) == "there/me/mine"
    monkeypatch.chdir(tmp_path / "me")  # where the name is no folder
    assert isinstance(from_pretrained("me/mine"), Trained)


def test_without_a_network_it_says_so(runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="nobody/nothing is no folder, and cannot be fetched"):
        from_pretrained("nobody/nothing")
    with pytest.raises(HubError, match="nobody/nothing cannot be pushed to"):
        push_to_hub(runs[0], "nobody/nothing")


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"pip install 'mvqlab\[hub\]'"):
        from_pretrained("nobody/nothing")
