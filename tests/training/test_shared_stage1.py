"""A stage 1 that is trained once for all who need the same: to the bit what each would have trained alone."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny

from mvqlab.config import Config, known_keys, load_config, stage1_settings
from mvqlab.data import build_splits
from mvqlab.support.locks import HeldError
from mvqlab.training import CheckpointError, load_stage1, shared_stage1, stage1_once, train_stage1
from mvqlab.training.checkpoint import hold_run
from mvqlab.training.origin import check_is_finished, load_origin

RANGE = ["mask.mask_ratio=[0.0,0.9]", "stage1.steps=4"]


def same(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class EndedError(Exception):
    """A training that was cut short."""


def end(step: int, values: dict[str, float]) -> None:
    if step == 3:
        raise EndedError


@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_a_shared_training_is_to_the_bit_the_one_that_each_would_have_done(
    tmp_path: Path, ratio: float
) -> None:
    """At 0.75 fewer regions are kept outside training: the codebook starts from no more images for it."""
    config = tiny(*RANGE, f"mask.evaluation_ratio={ratio}")
    splits = build_splits(config.data)
    own = train_stage1(config, tmp_path / "own", splits=splits)
    after = torch.get_rng_state()
    other = tiny(*RANGE, "mask.evaluation_ratio=0.5", "transformer.width=32", "evaluation.samples=0")
    stage1_once(other, tmp_path / "other", tmp_path / "shared", splits=splits)
    torch.manual_seed(7)
    taken = stage1_once(config, tmp_path / "mine", tmp_path / "shared", splits=splits)

    assert same(taken, own) and not taken.training
    assert torch.equal(torch.get_rng_state(), after), "what follows draws as after a training of one's own"
    assert (taken.config, taken.n_kept) == (config, own.n_kept)
    images = splits.validation[0]["image"][None]
    assert torch.equal(taken(images).images, own(images).images)
    loaded = load_stage1(tmp_path / "mine")
    assert same(loaded, own) and loaded.config == config
    check_is_finished(tmp_path / "mine")
    assert load_origin(tmp_path / "mine") == load_origin(tmp_path / "own")
    curves = [(tmp_path / name / "curves.csv").read_bytes() for name in ("shared", "other", "mine")]
    assert len(set(curves)) == 1
    assert not (tmp_path / "mine" / "state.pt").exists()


def test_a_finished_training_is_taken_and_one_cut_short_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    config = tiny("stage1.steps=4", "stage1.checkpoint_every=2", "stage1.log_every=1")
    splits = build_splits(config.data)
    own = train_stage1(config, tmp_path / "own", splits=splits)
    with pytest.raises(EndedError):  # after the state of step 2
        train_stage1(stage1_settings(config), tmp_path / "shared", splits=splits, on_step=end)
    steps = []
    take_step = shared_stage1.Stage1Run.take_step
    monkeypatch.setattr(
        shared_stage1.Stage1Run,
        "take_step",
        lambda run, step, stream: steps.append(step) or take_step(run, step, stream),
    )
    assert same(stage1_once(config, tmp_path / "first", tmp_path / "shared", splits=splits), own)
    assert same(stage1_once(config, tmp_path / "second", tmp_path / "shared", splits=splits), own)
    assert steps == [2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stage1.steps=5", "stage1.steps: was 3, now 5"),
        ("stage1.log_every=2", "stage1.log_every: was 10, now 2"),
        ("seed=1", "seed: was 0, now 1"),
    ],
)
def test_a_folder_with_another_training_is_refused(tmp_path: Path, change: str, words: str) -> None:
    train_stage1(tiny(), tmp_path / "shared")
    before = (tmp_path / "shared" / "state.pt").read_bytes()
    with pytest.raises(CheckpointError, match=words):
        stage1_once(tiny(change), tmp_path / "mine", tmp_path / "shared")
    assert (tmp_path / "shared" / "state.pt").read_bytes() == before


def test_a_folder_whose_run_learned_from_other_data_is_refused(tmp_path: Path) -> None:
    train_stage1(tiny(), tmp_path / "shared", splits=build_splits(tiny("data.seed=1").data))
    with pytest.raises(CheckpointError, match="was trained on other data than there are now"):
        stage1_once(tiny(), tmp_path / "mine", tmp_path / "shared")


def test_nothing_that_cannot_be_trained_again_is_replaced(tmp_path: Path) -> None:
    train_stage1(tiny(), tmp_path / "shared")
    (tmp_path / "shared" / "state.pt").unlink()
    with pytest.raises(CheckpointError, match="weights without a training state"):
        stage1_once(tiny(), tmp_path / "mine", tmp_path / "shared")
    with pytest.raises(CheckpointError, match="name another folder"):
        stage1_once(tiny(), tmp_path / "shared", tmp_path / "shared" / ".." / "shared")


def test_who_comes_second_waits_says_so_and_takes_over(tmp_path: Path, monkeypatch, capsys) -> None:
    """The one in whose turn it waited trained nothing: it died."""
    refusals = iter([True, True])

    @contextmanager
    def held(folder: Path):
        if folder.name == "shared" and next(refusals, False):
            raise HeldError(f"another process is training in {folder} (process 7 on a node)")
        if folder.name == "shared":
            told = json.loads((tmp_path / "mine" / "progress.json").read_text())
            assert told == {"stage": "waiting for the stage 1 that another process trains"}
        with hold_run(folder):
            yield

    monkeypatch.setattr(shared_stage1, "hold_run", held)
    stage1_once(tiny(), tmp_path / "mine", tmp_path / "shared")
    words = capsys.readouterr().out
    assert words.count("(process 7 on a node): waiting for that stage 1") == 1
    assert same(load_stage1(tmp_path / "mine"), load_stage1(tmp_path / "shared"))
    assert json.loads((tmp_path / "mine" / "progress.json").read_text())["step"] == 3, "it says how far it is"


LATER = {"preset", "mask.evaluation_ratio", "data.cache_tokens"}
VALIDATION = {"evaluation.images", "evaluation.batch_size"}


def changed(config: Config, key: str) -> Config:
    """`config` with another value of the setting `key`, which need make no sense."""
    section, _, leaf = key.rpartition(".")
    if not section:
        return config.model_copy(update={leaf: object()})
    return config.model_copy(update={section: getattr(config, section).model_copy(update={leaf: object()})})


def test_only_what_later_steps_alone_read_makes_no_other_training() -> None:
    """A setting that is new counts, unless `stage1_settings` knows that it does not."""
    config = load_config("shapes32")
    sections = ("transformer", "stage2", "sampling", "evaluation")
    later = {key for key in known_keys() if key in LATER or key.partition(".")[0] in sections}
    read = stage1_settings(config)
    same = {key for key in known_keys() if stage1_settings(changed(config, key)) == read}
    assert same == later - VALIDATION


def test_a_run_may_go_on_whatever_ratio_it_is_judged_at(tmp_path: Path) -> None:
    train_stage1(tiny(*RANGE, "mask.evaluation_ratio=0.25"), tmp_path)
    longer = tiny(*RANGE, "stage1.steps=5", "stage1.cosine=false", "mask.evaluation_ratio=0.75")
    with pytest.raises(CheckpointError, match=r"stage1\.cosine: was True, now False") as caught:
        train_stage1(longer, tmp_path, resume=True)
    assert "evaluation_ratio" not in str(caught.value)


def test_a_threshold_is_learned_at_the_ratio_that_is_judged() -> None:
    budgets = [tiny(*RANGE, "mask.budget=threshold", f"mask.evaluation_ratio={r}") for r in (0.5, 0.75)]
    assert stage1_settings(budgets[0]) != stage1_settings(budgets[1])
