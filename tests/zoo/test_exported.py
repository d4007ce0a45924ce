"""`mvqlab export`: what it refuses. What it writes is tried in tests/interop/test_onnx_export.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import tiny_stage1, write_run

from mvqlab.cli.main import main
from mvqlab.interop import onnx_export
from mvqlab.zoo import exported

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


@pytest.fixture
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph is traced, which takes seconds."""
    monkeypatch.setattr(exported, "export_graphs", lambda model, folder: {"none.onnx": {"bytes": 0}})


@pytest.mark.usefixtures("without_graphs")
def test_a_card_knows_what_a_shipped_model_draws_and_whom_to_credit(tmp_path: Path) -> None:
    assert main(["export", "emoji_stackformer", "--out", str(tmp_path)]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["stage1"] == "emoji_mqvae" and "OpenMoji" in card["credit"]
    assert len(card["class_names"]) == card["n_classes"] == card["null"] == 9
    assert card["sampling"]["code_guidance"] == 2.0 and card["sampling"]["ordered_positions"] is True


@pytest.mark.usefixtures("without_graphs")
def test_an_export_is_replaced_only_where_it_may_be(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    of_stage1, _ = write_run(tmp_path, "classes")
    export = ["export", str(of_stage1), "--out", str(tmp_path / "out")]
    assert main(export) == 0
    assert main(export) == 2 and "--fresh" in capsys.readouterr().err
    assert main([*export, "--fresh"]) == 0
    (tmp_path / "out" / "card.json").rename(tmp_path / "out" / "own.json")
    assert main([*export, "--fresh"]) == 2, "a folder of something else is not an export"


def graphs(*names: str) -> Callable[[object, Path], dict[str, object]]:
    """Instead of `export_graphs`: files of these names, that hold theirs."""

    def write(model: object, folder: Path) -> dict[str, object]:
        for name in names:
            (folder / name).write_text(name)
        return {name: {"bytes": len(name)} for name in names}

    return write


def test_an_export_that_was_cut_short_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_stage1, _ = write_run(tmp_path, "classes")
    out = tmp_path / "out"
    out.mkdir()
    (out / "encode.onnx").write_text("of before")
    (out / ".mvqlab-0-1-2-files").mkdir()
    monkeypatch.setattr(exported, "export_graphs", graphs("encode.onnx", "restore.onnx"))
    assert main(["export", str(of_stage1), "--out", str(out), "--fresh"]) == 0
    assert (out / "encode.onnx").read_text() == "encode.onnx"
    (out / "card.json").rename(out / "notes.txt")
    assert main(["export", str(of_stage1), "--out", str(out), "--fresh"]) == 2, "notes are no export's"


def test_another_models_export_leaves_nothing_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_stage1, of_stage2 = write_run(tmp_path, "classes")
    out = tmp_path / "out"
    monkeypatch.setattr(exported, "export_graphs", graphs("encode.onnx", "restore.onnx"))
    assert main(["export", str(of_stage1), "--out", str(out)]) == 0
    monkeypatch.setattr(exported, "export_graphs", graphs("code.onnx"))
    fresh = ["export", str(of_stage2), "--stage1", str(of_stage1), "--out", str(out), "--fresh"]
    assert main(fresh) == 0
    assert {path.name for path in out.iterdir()} == {"code.onnx", "card.json"}


def test_an_export_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_stage1, _ = write_run(tmp_path, "classes")
    out = tmp_path / "out"
    monkeypatch.setattr(exported, "export_graphs", graphs("encode.onnx"))
    assert main(["export", str(of_stage1), "--out", str(out)]) == 0
    before = {path.name: path.read_text() for path in out.iterdir()}

    def stopped(model: object, folder: Path) -> dict[str, object]:
        (folder / "encode.onnx").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(exported, "export_graphs", stopped)
    assert main(["export", str(of_stage1), "--out", str(out), "--fresh"]) == 130
    assert {path.name: path.read_text() for path in out.iterdir()} == before


@pytest.mark.usefixtures("without_graphs")
def test_a_run_keeps_its_own_settings_of_sampling(tmp_path: Path) -> None:
    of_stage1, of_stage2 = write_run(tmp_path, "captions")
    out = tmp_path / "out"
    assert main(["export", str(of_stage2), "--stage1", str(of_stage1), "--out", str(out)]) == 0
    card = json.loads((out / "card.json").read_text())
    assert (card["name"], card["condition"], card["caption_length"]) == ("stage2", "caption", 24)


def test_a_name_that_nobody_knows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "emoji_mqva", "--out", str(tmp_path)]) == 2
    assert "emoji_mqvae" in capsys.readouterr().err


def test_without_the_exporter_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "NEEDED", ("onnx_of_nowhere",))
    with pytest.raises(onnx_export.ExportError, match=r"mvqlab\[web\]"):
        onnx_export.export_graphs(tiny_stage1(), tmp_path)
    assert not list(tmp_path.iterdir())
