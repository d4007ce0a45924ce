"""The authors' checkpoints: what is read, what is skipped, what is refused and in which words."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mvqlab.cli import main
from mvqlab.data.seeds import generator as some_callable
from mvqlab.interop import (
    OfficialCheckpointError,
    load_official_mqvae,
    load_official_stackformer,
    read_state_dict,
    refused_objects,
    stage2_settings,
    strip_checkpoint,
)
from mvqlab.training import load_stage1, load_stage2

FIXTURES = Path(__file__).parent / "fixtures"
STAGE1 = {"mask_ratio": 0.75, "resolution": 32}


def fixture(name: str, kind: str = "weights") -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{name}.{kind}.safetensors")


def both_stages() -> dict[str, Tensor]:
    """As the authors' script saves stage 2: its stage 1 inside, and causal masks."""
    first = {f"first_stage_model.{name}": tensor for name, tensor in fixture("mqvae_conv_scorer").items()}
    masks = {"transformer.value_transformer.0.attn.mask": torch.ones(1, 1, 17, 17).tril()}
    return {**fixture("stackformer_class_conditional"), **first, **masks}


@torch.no_grad()
def test_variants_of_a_stage1_checkpoint_are_one_model(tmp_path: Path) -> None:
    """With losses, without moving averages, inside stage 2, as a file or a dict: the same images come out."""
    whole, seen = fixture("mqvae_conv_scorer"), fixture("mqvae_conv_scorer", "tensors")
    with_losses = {**whole, "loss.discriminator.main.0.weight": torch.ones(2), "loss.logvar": torch.ones(())}
    bare = {name: tensor for name, tensor in whole.items() if not name.endswith("_ema")}
    assert len(bare) < len(whole)
    torch.save({"state_dict": with_losses, "epoch": 3}, tmp_path / "stage1.ckpt")
    for checkpoint in (tmp_path / "stage1.ckpt", {"state_dict": whole}, bare, both_stages()):
        model = load_official_mqvae(checkpoint, **STAGE1)
        assert not model.training
        made = model(seen["images"])
        assert torch.equal(made.pairs.codes, seen["codes"])
        torch.testing.assert_close(made.images, seen["reconstruction"], atol=1e-4, rtol=0)


def test_the_grid_and_the_classes_are_told_by_the_stage1_inside_stage2() -> None:
    tensors = both_stages()
    assert load_official_mqvae(tensors).side == 8
    settings = stage2_settings(tensors, heads=4)
    assert settings.condition == "class" and settings.start_codes == 5
    model = load_official_stackformer(tensors, heads=4)
    assert model.codebook_size == 24 and model.start.classes.num_embeddings == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder.surprise.weight": torch.ones(3)}, "unknown: encoder.surprise.weight"),
        ({"encoder.conv_out.bias": None}, "missing: encoder.conv_out.bias"),
        ({"encoder.conv_out.bias": torch.ones(3)}, r"encoder.conv_out.bias is \(3,\), where \(64,\) fits"),
        ({"demasker.transformer.blocks.0.attn.k.weight": None}, "has no partners for k and v"),
        ({"quantize.codebook.weight": None}, "no stage 1 .* 'quantize.codebook.weight' is missing"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor | None], words: str) -> None:
    tensors = {**fixture("mqvae_conv_scorer"), **change}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with pytest.raises(OfficialCheckpointError, match=words):
        load_official_mqvae(tensors, **STAGE1)


def test_stage2_asks_for_heads_where_no_tensor_tells_them() -> None:
    with pytest.raises(OfficialCheckpointError, match="give `heads`"):
        load_official_stackformer(fixture("stackformer_code_first"))


def test_the_wrong_stage_is_named() -> None:
    with pytest.raises(OfficialCheckpointError, match="no stage 2 of the authors' code"):
        load_official_stackformer(fixture("mqvae_conv_scorer"))
    with pytest.raises(OfficialCheckpointError, match="no stage 1 of the authors' code"):
        load_official_mqvae(fixture("stackformer_code_first"))


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OfficialCheckpointError, match="there is no checkpoint at"):
        read_state_dict(tmp_path / "nothing.ckpt")
    whole = tmp_path / "whole.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1000)}}, whole)
    (tmp_path / "half.ckpt").write_bytes(whole.read_bytes()[:1000])
    (tmp_path / "words.ckpt").write_text("these are no weights")
    for name in ("half.ckpt", "words.ckpt"):
        for read in (read_state_dict, strip_checkpoint):
            with pytest.raises(OfficialCheckpointError, match=name):
                read(tmp_path / name)


@pytest.mark.parametrize("inside", [None, 5, [torch.ones(1)], {1: torch.ones(1)}])
def test_a_state_dict_that_is_none_is_refused(inside: object) -> None:
    with pytest.raises(OfficialCheckpointError, match="does not map names to tensors"):
        read_state_dict({"state_dict": inside})


class Callback:
    """What old Lightning leaves in its checkpoints: an object of a class of its own."""

    unpickled = 0

    def __setstate__(self, state: dict) -> None:
        Callback.unpickled += 1


class RunsWhenRead:
    """What a hostile file holds: a call of anything."""

    def __reduce__(self) -> tuple:
        return os.putenv, ("MVQLAB_ATTACKED", "yes")


def old_checkpoint(path: Path, **how: bool) -> Path:
    callback = Callback()
    callback.best_score = torch.tensor(0.5)
    content = {
        "state_dict": fixture("mqvae_conv_scorer"),
        "callbacks": {Callback: callback},
        "hyper_parameters": collections.defaultdict(list, lr=[1.0]),
        "hook": some_callable,
        "attack": RunsWhenRead(),
    }
    torch.save(content, path, **how)
    return path


def test_objects_are_refused_by_name_and_stripped_without_running_them(tmp_path: Path) -> None:
    path = old_checkpoint(tmp_path / "old.ckpt")
    names = refused_objects(path)
    assert f"{__name__}.Callback" in names and "mvqlab.data.seeds.generator" in names
    with pytest.raises(OfficialCheckpointError, match=r"Callback.*--strip"):
        load_official_mqvae(path, **STAGE1)
    tensors = strip_checkpoint(path)
    assert tensors.keys() == fixture("mqvae_conv_scorer").keys()
    attacked = subprocess.run("printenv MVQLAB_ATTACKED", shell=True, check=False).returncode == 0
    assert Callback.unpickled == 0 and not attacked
    load_official_mqvae(tensors, **STAGE1)


class Program(torch.nn.Module):
    """What a hostile TorchScript archive holds: code that writes a file while it is loaded."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim = victim

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.victim, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.victim = state[0]
        self.training = state[1]
        torch.save(torch.ones(3), state[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:'torch.load' received:UserWarning")
@pytest.mark.parametrize("read", [read_state_dict, strip_checkpoint, load_official_mqvae])
def test_a_program_is_refused_before_any_of_it_runs(read: Callable[[Path], object], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.jit.save(torch.jit.script(Program(str(victim))), tmp_path / "program.ckpt")
    with pytest.raises(OfficialCheckpointError, match=r"program\.ckpt is a TorchScript archive"):
        read(tmp_path / "program.ckpt")
    assert not victim.exists()


def test_older_programs_are_refused_too(tmp_path: Path) -> None:
    """Before PyTorch 1.4 an archive had other names inside."""
    with zipfile.ZipFile(tmp_path / "old.ckpt", "w") as archive:
        archive.writestr("model/version", "1")
        archive.writestr("model/model.json", "{}")
        archive.writestr("model/code/model.py", "")
    with pytest.raises(OfficialCheckpointError, match="TorchScript"):
        strip_checkpoint(tmp_path / "old.ckpt")


def test_files_of_the_legacy_format_are_read_or_named_as_such(tmp_path: Path) -> None:
    tensors = tmp_path / "tensors.ckpt"
    torch.save({"state_dict": {"a": torch.ones(2)}}, tensors, _use_new_zipfile_serialization=False)
    assert read_state_dict(tensors).keys() == strip_checkpoint(tensors).keys() == {"a"}
    objects = old_checkpoint(tmp_path / "objects.ckpt", _use_new_zipfile_serialization=False)
    older = tmp_path / "older.ckpt"  # before 0.1.10 it was an archive of tar
    with tarfile.open(older, "w") as archive:
        archive.add(tensors, "storages")
    for path in (objects, older):
        for read in (read_state_dict, strip_checkpoint):
            with pytest.raises(OfficialCheckpointError, match=f"{path.name} .in the legacy format"):
                read(path)


def test_a_stripped_file_changes_nothing_of_torch(tmp_path: Path) -> None:
    """A pickle can set attributes of whatever it names, of functions too."""
    torch.save({"a": torch.ones(2)}, tmp_path / "good.ckpt")
    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x07\x00\x00\x00changedK\x01sb."
    with zipfile.ZipFile(tmp_path / "good.ckpt") as good, zipfile.ZipFile(tmp_path / "bad.ckpt", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, pickled if name.endswith("data.pkl") else good.read(name))
    with pytest.raises(OfficialCheckpointError, match="not a checkpoint"):
        strip_checkpoint(tmp_path / "bad.ckpt")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "changed")


@torch.no_grad()
def test_imported_runs_load_like_trained_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((FIXTURES / "mqvae_conv_scorer.json").read_text())
    assert facts["resolution"] == STAGE1["resolution"]
    torch.save({"state_dict": both_stages()}, tmp_path / "stage2.ckpt")
    out = tmp_path / "runs"
    assert main(["import-official", str(tmp_path / "stage2.ckpt"), str(out), "--heads", "4"]) == 0
    assert "stage1" in capsys.readouterr().out
    stage1 = load_stage1(out / "stage1")
    seen = fixture("mqvae_conv_scorer", "tensors")
    torch.testing.assert_close(stage1(seen["images"]).images, seen["reconstruction"], atol=1e-4, rtol=0)
    stage2 = load_stage2(out / "stage2", stage1)
    theirs = load_official_stackformer(both_stages(), heads=4)
    labels = torch.tensor([0, 4])
    pairs = stage1.encode(seen["images"][:2]).pairs
    torch.testing.assert_close(stage2(pairs, labels).code_logits, theirs(pairs, labels).code_logits)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_import_never_writes_over_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    torch.save({"state_dict": both_stages()}, tmp_path / "stage2.ckpt")
    trained = tmp_path / "runs" / stage / "weights.safetensors"
    trained.parent.mkdir(parents=True)
    trained.write_bytes(b"a day of work")
    assert (
        main(["import-official", str(tmp_path / "stage2.ckpt"), str(tmp_path / "runs"), "--heads", "4"]) == 2
    )
    assert "name another folder" in capsys.readouterr().err
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == [trained]
    assert trained.read_bytes() == b"a day of work"


def test_import_writes_nothing_where_one_stage_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": both_stages()}, tmp_path / "stage2.ckpt")
    assert main(["import-official", str(tmp_path / "stage2.ckpt"), str(tmp_path / "runs")]) == 2
    assert "give `heads`" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
