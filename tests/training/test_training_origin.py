"""A run knows what it was trained on, and its weights are those of its state."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file
from test_training import assert_same, tiny
from tiny_runs import N_CLASSES, write_run

import mvqlab
from mvqlab.cli import main as cli
from mvqlab.data import Splits, build_splits
from mvqlab.models.caption_tokenizer import CaptionTokenizer, train_caption_tokenizer
from mvqlab.models.mqvae import build_stage1
from mvqlab.support.locks import LOCK
from mvqlab.training import CheckpointError, load_stage1, tokenise, train_stage1, train_stage2
from mvqlab.training.origin import (
    Origin,
    check_is_finished,
    load_origin,
    origin_of,
    read_origin,
    save_origin,
)
from mvqlab.training.state import save_state
from mvqlab.training.tokens import cached_tokens, weights_hash
from mvqlab.training.weights import save_weights
from mvqlab.zoo.drawn import SampleError

SHORT = ("stage1.steps=2", "stage2.steps=2", "stage1.checkpoint_every=1", "quantizer.start_step=1")
WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def splits() -> Splits:
    return build_splits(tiny().data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, splits: Splits) -> Path:
    """A finished run of stage 1; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    train_stage1(tiny(*SHORT), folder, splits=splits)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def resumed(run: Path, splits: Splits, **more: bool) -> None:
    train_stage1(tiny(*SHORT), run, splits=splits, resume=True, **more)


@pytest.mark.parametrize("how", ["missing", "cut", "zeroed", "of another step"])
def test_resume_writes_lost_weights_anew_from_the_state(how: str, run: Path, splits: Splits) -> None:
    whole, path = load_stage1(run), run / WEIGHTS
    size = path.stat().st_size
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: size // 2])
    elif how == "zeroed":
        path.write_bytes(bytes(size))
    else:
        save_weights(build_stage1(tiny(*SHORT)), path, step=1, stage=1)
    resumed(run, splits)
    assert_same(whole, load_stage1(run))
    check_is_finished(run)


@pytest.mark.parametrize("moment", ["save_state", "write_weights"])
def test_a_new_run_that_is_killed_while_saving_leaves_one_run_or_the_other(
    run: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before its state is saved the finished run is as it was; after it, no weights of that one are left."""
    earlier = load_stage1(run)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"mvqlab.training.run.{moment}", killed)
        train_stage1(tiny(*SHORT, "seed=7"), run, splits=splits)
    if moment == "save_state":
        resumed(run, splits)
        assert_same(earlier, load_stage1(run))
        return
    with pytest.raises(CheckpointError, match="no weights"):
        load_stage1(run)
    model = train_stage1(tiny(*SHORT, "seed=7"), run, splits=splits, resume=True)
    assert_same(model, load_stage1(run))
    assert not torch.equal(
        earlier.state_dict()["encoder.conv_in.weight"], model.state_dict()["encoder.conv_in.weight"]
    )


def test_a_state_that_lacks_a_part_or_is_of_another_model_is_named(run: Path, splits: Splits) -> None:
    state = torch.load(run / "state.pt", weights_only=True)
    for name in ("optimiser", "random"):
        save_state({key: value for key, value in state.items() if key != name}, run / "state.pt")
        with pytest.raises(CheckpointError, match=rf"state\.pt lacks '{name}'") as caught:
            resumed(run, splits)
        assert "\n" not in str(caught.value)
    model = {key: value[:1] if value.ndim > 1 else value for key, value in state["model"].items()}
    save_state({**state, "model": model}, run / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt is of another model") as caught:
        resumed(run, splits)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_older_version_goes_on(run: Path, splits: Splits) -> None:
    state = torch.load(run / "state.pt", weights_only=True)
    save_state({key: state[key] for key in state if key not in ("settings", "trained_on")}, run / "state.pt")
    (run / "trained_on.json").unlink()
    other = replace(splits, data_hash="other")
    assert load_origin(run) == Origin()
    resumed(run, other)


def test_other_data_are_told_in_one_line_and_need_a_flag(run: Path, splits: Splits) -> None:
    assert load_origin(run) == origin_of(splits)
    names = ["a", *splits.class_names[1:]]
    for other, says in (
        (replace(splits, data_hash="other"), "other data than there are now"),
        (replace(splits, data_hash="other", train=splits.validation), "96 images, now 24"),
        (replace(splits, data_hash="other", class_names=names), rf"classes {splits.class_names[0]}, .* now"),
    ):
        with pytest.raises(CheckpointError, match=says) as caught:
            resumed(run, other)
        assert "\n" not in str(caught.value) and "--allow-changes" in str(caught.value)
    resumed(run, replace(splits, data_hash="other"), allow_changes=True)


def test_a_half_trained_stage1_is_named(run: Path) -> None:
    check_is_finished(run)
    save_weights(load_stage1(run), run / WEIGHTS, step=1, stage=1)
    with pytest.raises(CheckpointError, match=r"half-trained, 1 of 2 steps.*--allow-changes"):
        check_is_finished(run)
    out = str(run.parent / "stage2")
    assert cli.main(["train", "--stage", "2", "--stage1", str(run), "--out", out]) == 2


def test_a_transformer_knows_its_stage1(tmp_path: Path) -> None:
    """Of equal shape, another would draw noise."""
    of_stage1, of_stage2 = write_run(tmp_path, "code_first")
    stage1 = load_stage1(of_stage1)
    save_origin(Origin(stage1=weights_hash(stage1)), of_stage2)
    save_weights(build_stage1(stage1.config), of_stage1 / WEIGHTS)
    given = {"n": 1, "model": of_stage2, "stage1": of_stage1}
    with pytest.raises(CheckpointError, match=r"codes of another stage 1.*--allow-changes"):
        mvqlab.sample(**given)
    assert mvqlab.sample(**given, allow_changes=True).images.shape[0] == 1


def test_a_class_is_what_it_was_when_the_model_was_trained(tmp_path: Path) -> None:
    """The settings say what shapes are called; the run was trained on others, and its data are gone."""
    of_stage1, of_stage2 = write_run(tmp_path, "classes")
    save_origin(Origin("data", 20, list("hgfedcba"[:N_CLASSES])), of_stage2)
    given = {"n": 2, "model": of_stage2, "stage1": of_stage1}
    by_name = mvqlab.sample(**given, class_name="f")
    assert torch.equal(by_name.images, mvqlab.sample(**given, class_name=2).images)
    save_origin(Origin(class_names=["f"]), of_stage2)
    with pytest.raises(SampleError, match="by its number"):
        mvqlab.sample(**given, class_name="f")


def test_the_tokenizer_of_captions_is_kept_and_never_learned_anew(tmp_path: Path, splits: Splits) -> None:
    config = tiny(
        "transformer.condition=caption",
        "transformer.vocabulary_size=300",
        "transformer.caption_length=40",
        *SHORT,
    )
    stage1 = build_stage1(config).eval()
    train_stage2(config, stage1, tmp_path, splits=splits)
    path = CaptionTokenizer.path_in(tmp_path)
    kept = path.read_bytes()
    train_caption_tokenizer(["quite other words"], 300, config.transformer.caption_length).save(tmp_path)
    train_stage2(config, stage1, tmp_path, splits=splits, resume=True)
    assert path.read_bytes() == kept


def test_a_token_cache_without_its_notes_is_encoded_anew(tmp_path: Path, splits: Splits) -> None:
    stage1, path = build_stage1(tiny()).eval(), tmp_path / "tokens.safetensors"
    save_file({"codes": torch.zeros(2)}, path)
    tokens = cached_tokens(path, lambda: tokenise(stage1, splits.validation, limit=4))
    assert len(tokens) == 4 and tokens.pairs.side == stage1.side


def test_pictures_are_known_by_what_they_hold(tmp_path: Path) -> None:
    """Not by when they were written, nor by where they lie: copies are the same data."""
    random = np.random.default_rng(0)
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "one" / f"{name}.bmp")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)

    def found(name: str) -> str:
        return build_splits(tiny("data.name=folder", f"data.root={tmp_path / name}").data).data_hash

    assert found("one") == found("two")
    shutil.copyfile(tmp_path / "one/a/1.bmp", tmp_path / "two/a/2.bmp")  # as large as the one before
    assert found("one") != found("two")


def test_a_second_training_in_a_folder_says_who_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_bytes(b"half a day of work")
    (tmp_path / LOCK).write_text("process 77 on there")
    for how in ([], ["--resume"], ["--fresh"]):
        with FileLock(tmp_path / LOCK):
            assert cli.main(["train", "--stage", "1", "--out", str(tmp_path), *how]) == 2
        assert "process 77 on there" in capsys.readouterr().err
    assert (tmp_path / "state.pt").read_bytes() == b"half a day of work"
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", LOCK}
    assert cli.main(["train", "--stage", "1", "--out", str(tmp_path)]) == 2
    assert "an unfinished run" in capsys.readouterr().err  # a lock that nobody holds is none


def test_a_run_keeps_what_was_skipped_and_old_records_say_nothing_of_it() -> None:
    dataset = [0, 1]
    splits = SimpleNamespace(data_hash="ab", train=dataset, class_names=["a"], skipped=["x.png: is broken"])
    origin = origin_of(splits)
    assert origin.skipped == ["x.png: is broken"] and read_origin(origin.record()) == origin
    record = {key: value for key, value in origin.record().items() if key != "skipped"}
    assert read_origin(record).skipped is None
