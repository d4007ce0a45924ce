"""The authors' checkpoints: what is read, what is skipped, what is refused and in which words."""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official_names import listed_tensors
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mvqlab.cli.main import main
from mvqlab.data.seeds import generator as some_callable
from mvqlab.interop import (
    OfficialCheckpointError,
    load_official_mqvae,
    load_official_stackformer,
    read_state_dict,
    refused_objects,
    stage1_settings,
    stage2_settings,
    strip_checkpoint,
)
from mvqlab.interop.sizes import official_n_kept
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.pairs import Pairs
from mvqlab.training import load_stage1, load_stage2

FIXTURES = Path(__file__).parents[1] / "fixtures"
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


def test_as_many_regions_are_kept_as_in_the_released_code() -> None:
    """There N is int(topk_ratio * L); rounded, it is another for half of all percentages."""
    theirs = [int(percent / 100 * 1024) for percent in range(1, 101)]
    assert [official_n_kept(1.0 - percent / 100, 1024) for percent in range(1, 101)] == theirs
    rounded = [n_kept(1.0 - percent / 100, 1024) for percent in range(1, 101)]
    assert theirs[19] == 204 and sum(a != b for a, b in zip(theirs, rounded, strict=True)) == 48
    assert official_n_kept(1.0 - 205 / 1024, 1024) == 205  # more decimals than anyone would write


@pytest.mark.parametrize(("mask_ratio", "n"), [(0.8, 12), (0.79, 13), (None, 16)])
def test_what_is_kept_is_what_the_settings_say(tmp_path: Path, mask_ratio: float | None, n: int) -> None:
    """int(0.2 * 64) is 12 and int(0.21 * 64) is 13, in the model, its remarks and the run that is written."""
    with torch.device("meta"):
        settings = stage1_settings(both_stages(), mask_ratio)
        assert MQVAE(settings).n_kept == n
    model = load_official_stackformer(both_stages(), mask_ratio=mask_ratio, heads=4)
    assert model.n_pairs == n
    said = any(f"{n} of 64 regions" in remark for remark in model.remarks)
    assert said == (mask_ratio is None or n_kept(mask_ratio, 64) != n)


def test_every_guess_about_stage1_is_an_argument_and_otherwise_said() -> None:
    tensors = fixture("mqvae_conv_scorer")
    silent = load_official_mqvae(tensors, mask_ratio=0.75, resolution=32, mask_init_value=0.05, reweight=True)
    assert (silent.config.demask.initial_trust, silent.config.demask.renormalise) == (0.05, True)
    assert [remark.partition(":")[0] for remark in silent.remarks] == ["for training on"]
    with torch.device("meta"):
        said = load_official_mqvae({name: tensor.to("meta") for name, tensor in tensors.items()}).remarks
    for words in ("mask_ratio: .*0.75", "resolution: .*256", "mask_init_value: .*0.02", "reweight: .*off"):
        assert any(re.match(words, remark) for remark in said), words


def test_every_guess_about_stage2_is_an_argument_and_otherwise_said() -> None:
    model = load_official_stackformer(fixture("stackformer_code_first"), heads=4)
    names = ["mask_ratio", "first", "order", "n_classes", "n_unmasked", "for training on"]
    assert [remark.partition(":")[0] for remark in model.remarks] == names
    assert "makes 24 codes" in model.remarks[3]
    given = {"mask_ratio": 0.75, "first": "code", "order": "score", "n_classes": 5, "heads": 4}
    model = load_official_stackformer(both_stages(), **given)
    assert model.order == "score" and len(model.remarks) == 1
    with torch.device("meta"):
        published = load_official_stackformer(listed_tensors("stackformer_state_dict.tsv"))
    assert any(remark.startswith("heads: taken as 16") for remark in published.remarks)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mask_ratio": 0.5}, r"17 pairs at most \(block_size\), and an image has 32"),
        ({"mask_ratio": 1.0}, "keeps 0 of 64"),
        ({"heads": 3}, "3 heads do not divide a width of 32"),
        ({"heads": 0}, "0 heads do not divide"),
        ({"n_classes": 6}, "29 rows for 24 codes"),
        ({"n_classes": -1}, "29 rows for 24 codes"),
    ],
)
def test_arguments_that_do_not_fit_stage2_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(OfficialCheckpointError, match=words):
        load_official_stackformer(both_stages(), **{"heads": 4, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resolution": 30}, "30 does not fit: .* multiple of 4"),
        ({"resolution": 0}, "0 does not fit"),
        ({"resolution": 64}, "grid of 8 x 8 regions, which is 32 pixels"),
        ({"mask_init_value": 0.0}, "mask_init_value is 0"),
    ],
)
def test_arguments_that_do_not_fit_stage1_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(OfficialCheckpointError, match=words):
        stage1_settings(both_stages(), **arguments)


def test_places_that_see_what_comes_after_them_are_refused() -> None:
    tensors = both_stages()
    tensors["transformer.value_transformer.0.attn.mask"][..., :3, :3] = 1.0
    with pytest.raises(OfficialCheckpointError, match="n_unmasked > 0"):
        stage2_settings(tensors, heads=4)


@pytest.mark.parametrize(
    "theirs", ["embedding.weight", "embed.weight", "_codebook.embed", "codebooks.0.weight"]
)
def test_another_quantiser_is_named_as_what_it_is(theirs: str) -> None:
    tensors = {
        name: tensor for name, tensor in fixture("mqvae_conv_scorer").items() if "quantize." not in name
    }
    with pytest.raises(OfficialCheckpointError, match=f"has another quantiser .quantize.{theirs}"):
        stage1_settings({**tensors, f"quantize.{theirs}": torch.ones(24, 64)})


def test_a_stage2_without_places_is_named_as_what_it_is() -> None:
    tensors = fixture("stackformer_code_first")
    del tensors["transformer.pos_emb"]
    with pytest.raises(OfficialCheckpointError, match="add_absolute_position: false"):
        stage2_settings(tensors, heads=4)


def test_weights_that_are_not_finite_are_named() -> None:
    tensors = fixture("mqvae_conv_scorer")
    tensors["encoder.conv_out.bias"][3] = torch.nan
    with pytest.raises(OfficialCheckpointError, match=r"not finite: encoder\.conv_out\.bias"):
        load_official_mqvae(tensors, **STAGE1)


CODE_ROWS = ("transformer.value_emb.weight", "transformer.value_head.1.weight")


@torch.no_grad()
def test_spare_rows_of_the_vocabulary_stand_behind_the_codes() -> None:
    """[5 classes][24 codes][2 spare rows]: the same logits of the codes as without the spare rows."""
    tensors = both_stages()
    plain = load_official_stackformer(tensors, heads=4, n_classes=5)
    for name in CODE_ROWS:
        tensors[name] = torch.cat([tensors[name], torch.full((2, 32), 7.0)])
    spare = load_official_stackformer(tensors, heads=4, n_classes=5)
    assert spare.codebook_size == 24 and any("2 rows of the code table" in said for said in spare.remarks)
    pairs = Pairs(torch.arange(16).expand(1, -1), torch.arange(16).expand(1, -1), 8)
    logits = [model(pairs, torch.tensor([4])).code_logits[..., :24] for model in (plain, spare)]
    torch.testing.assert_close(*logits)
    guessed = load_official_stackformer(tensors, heads=4)
    assert any("n_classes: taken as 7" in said for said in guessed.remarks)


@torch.no_grad()
def test_a_single_class_is_a_start_before_the_codes() -> None:
    """[1 class][24 codes] with the class for a start is [24 codes][start token]."""
    tensors = fixture("stackformer_code_first")
    unconditional = load_official_stackformer(tensors, heads=4, n_classes=0)
    for name in CODE_ROWS:
        tensors[name] = tensors[name].roll(1, dims=0)
    one_class = load_official_stackformer(tensors, heads=4, n_classes=1)
    assert one_class.codebook_size == 24 and one_class.start.classes.num_embeddings == 1
    pairs = Pairs(torch.arange(16).expand(1, -1), torch.arange(16).expand(1, -1), 8)
    logits = one_class(pairs, torch.tensor([0])).code_logits, unconditional(pairs).code_logits
    torch.testing.assert_close(*logits)


def test_imported_runs_say_what_was_taken_for_granted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": fixture("stackformer_code_first")}, tmp_path / "stage2.ckpt")
    ask = ["import-official", str(tmp_path / "stage2.ckpt"), str(tmp_path / "runs"), "--heads", "4"]
    assert main([*ask, "--mask-init-value", "0.1"]) == 2
    assert "mask_init_value: of stage 1" in capsys.readouterr().err
    assert main(ask) == 0
    assert "stage2: n_classes: taken as 0" in capsys.readouterr().out
    with safe_open(tmp_path / "runs" / "stage2" / "weights.safetensors", "pt") as file:
        assert "n_classes: taken as 0" in file.metadata()["remarks"]
    torch.save({"state_dict": fixture("mqvae_conv_scorer")}, tmp_path / "stage1.ckpt")
    assert (
        main(["import-official", str(tmp_path / "stage1.ckpt"), str(tmp_path / "more"), "--heads", "4"]) == 2
    )
    assert "heads: of stage 2" in capsys.readouterr().err


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
