"""Both stages trained for a few steps on drawn shapes: they learn, resume exactly and load again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import torch
from halts import halting
from torch import Tensor, nn

from mvqlab.config import Config, ConfigError
from mvqlab.data import Splits, build_splits
from mvqlab.models.codebook import Codebook
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import build_stage1
from mvqlab.sampling import sample_images
from mvqlab.support.files import CACHE_VARIABLE
from mvqlab.training import (
    CheckpointError,
    build_transformer,
    load_stage1,
    load_stage2,
    tokenise,
    train_stage1,
    train_stage2,
)
from mvqlab.training.average import WeightAverage
from mvqlab.training.launch import make_fabric
from mvqlab.training.losses import Judges, generator_loss
from mvqlab.training.stage1 import CodebookWarning
from mvqlab.training.stage2_data import tokenise_splits
from mvqlab.training.state import DamagedStateWarning
from mvqlab.training.tokens import cached_tokens

# Long enough to be stopped at several places and resumed, with every step in the curves.
STEPS = [
    "data.train_size=96",
    "data.validation_size=24",
    "quantizer.start_step=3",
    *(f"stage{n}.{words}" for n in (1, 2) for words in ("steps=8", "batch_size=8", "log_every=1")),
]

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
PATIENCE = 1200  # seconds for a training in processes of its own, however busy the machine is


def tiny(*changes: str) -> Config:
    return tiny_runs.tiny(*STEPS, *changes)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return build_splits(tiny().data)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(model: nn.Module, other: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["adaptive", "random", "truth", "none"])
def test_stage1_learns_and_comes_back_from_disk(kind: str, tmp_path: Path, splits: Splits) -> None:
    ratio = 0.0 if kind == "none" else 0.5
    mask = [f"mask.kind={kind}", f"mask.mask_ratio={ratio}"]
    config = tiny(*mask, "stage1.steps=40", "quantizer.start_step=5")
    model = train_stage1(config, tmp_path, splits=splits)
    curve = pd.read_csv(tmp_path / "curves.csv").query("split == 'train'")["l1"]
    assert curve.tail(5).mean() < 0.8 * curve.iloc[0]
    assert not model.training
    assert_same(model, load_stage1(tmp_path))


@pytest.mark.parametrize("stop_after", [2, 5], ids=["in the warm-up", "after it"])
@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["loss.adversarial_weight=0.5", "loss.adversarial_start=2", "mask.kind=random"],
        ["stage1.accumulate=2", "stage1.weight_average=0.9"],
    ],
    ids=["plain", "adversarial and random mask", "accumulated and averaged"],
)
def test_a_resumed_stage1_equals_an_unbroken_one(
    extra: list[str], stop_after: int, tmp_path: Path, splits: Splits
) -> None:
    """Weights, optimisers, codebook, random numbers and place in the data all go on where they were."""
    whole = train_stage1(tiny(*extra), tmp_path / "whole", splits=splits)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == stop_after + 1:
            raise KeyboardInterrupt

    broken = tiny(*extra, f"stage1.checkpoint_every={stop_after}")
    with pytest.raises(KeyboardInterrupt):
        train_stage1(broken, tmp_path / "broken", splits=splits, on_step=stop)
    torch.manual_seed(99)
    resumed = train_stage1(broken, tmp_path / "broken", splits=splits, resume=True)
    assert_same(whole, resumed)
    steps = pd.read_csv(tmp_path / "broken" / "curves.csv").query("split == 'train'")["step"]
    assert steps.tolist() == list(range(1, 9))


def test_a_state_never_lies_on_disk_without_its_curves(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two files would otherwise lose what was logged before it."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for stage, train in ((1, train_stage1), (2, train_stage2)):
        given = () if stage == 1 else (build_stage1(tiny()).eval(),)
        monkeypatch.setattr("mvqlab.training.run.save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), *given, tmp_path / str(stage), splits=splits)
        assert len(pd.read_csv(tmp_path / str(stage) / "curves.csv")) > 0


def test_a_seed_gives_the_same_weights(tmp_path: Path, splits: Splits) -> None:
    first = train_stage1(tiny(), tmp_path / "a", splits=splits)
    assert_same(first, train_stage1(tiny(), tmp_path / "b", splits=splits))
    other = train_stage1(tiny("seed=1"), tmp_path / "c", splits=splits)
    assert not torch.equal(first.encoder.conv_in.weight, other.encoder.conv_in.weight)


def test_one_forward_pass_and_one_codebook_update_a_step(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released code runs both twice, once for each optimiser."""
    updates = []
    update = Codebook.update
    monkeypatch.setattr(Codebook, "update", lambda self, *args: (updates.append(1), update(self, *args))[1])
    train_stage1(tiny("loss.adversarial_weight=0.5", "quantizer.start_step=0"), tmp_path, splits=splits)
    assert len(updates) == 8


def test_nothing_is_quantised_before_the_start_step(tmp_path: Path, splits: Splits) -> None:
    train_stage1(tiny("quantizer.start_step=4"), tmp_path, splits=splits)
    quantiser = pd.read_csv(tmp_path / "curves.csv").query("split == 'train'")["quantizer"].tolist()
    assert quantiser[:4] == [0.0] * 4 and min(quantiser[4:]) > 0.0


def test_a_codebook_that_never_starts_is_told_of(tmp_path: Path, splits: Splits) -> None:
    with pytest.warns(
        CodebookWarning, match="quantizer.start_step=8, but training ends after stage1.steps=8"
    ):
        train_stage1(tiny("quantizer.start_step=8"), tmp_path, splits=splits)


def test_the_discriminator_enters_at_its_step_and_ramps(tmp_path: Path, splits: Splits) -> None:
    config = tiny("loss.adversarial_weight=0.5", "loss.adversarial_start=3", "loss.adversarial_ramp=2")
    train_stage1(config, tmp_path, splits=splits)
    curve = pd.read_csv(tmp_path / "curves.csv").query("split == 'train'")
    assert (curve["adversarial_weight"].to_numpy() > 0).tolist() == [False] * 3 + [True] * 5
    assert curve["discriminator"].isna().tolist() == [True] * 3 + [False] * 5


def test_the_discriminator_does_not_learn_from_the_generators_loss(splits: Splits) -> None:
    config = tiny("loss.adversarial_weight=0.5")
    model = build_stage1(config)
    discriminator = PatchDiscriminator(config.discriminator).requires_grad_(False)
    images = torch.stack([splits.train[index]["image"] for index in range(4)])
    loss = generator_loss(
        config.loss, Judges(None, discriminator), model(images), images, model.decoder.last_layer, ramp=1.0
    )
    assert loss.adversarial_weight > 0
    loss.total.backward()
    assert all(p.grad is None for p in discriminator.parameters())
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0


def test_stage1_loss_is_the_sum_of_its_terms(splits: Splits) -> None:
    config = tiny("loss.squared_weight=3")
    model = build_stage1(config)
    images = torch.stack([splits.train[index]["image"] for index in range(4)])
    made = model(images)
    loss = generator_loss(config.loss, Judges(None, None), made, images, model.decoder.last_layer, ramp=1.0)
    error = made.images - images
    expected = error.abs().mean() + 3 * error.square().mean() + made.quantizer_loss
    torch.testing.assert_close(loss.total, expected)


@pytest.mark.parametrize(
    "overrides",
    [
        ["transformer.first=code"],
        ["transformer.first=position", "transformer.activation_checkpointing=true"],
        ["transformer.order=score", "stage2.weight_average=0.9"],
        ["transformer.condition=class", "transformer.condition_dropout=0.5"],
        ["transformer.condition=caption", "transformer.vocabulary_size=300", "transformer.caption_length=40"],
        ["transformer.model=raster", "mask.kind=none", "mask.mask_ratio=0"],
        pytest.param(["stage2.optimiser=muon", "stage2.gradient_clip=1"], marks=needs_muon),
    ],
    ids=["code first", "position first", "score order", "classes", "captions", "raster", "muon"],
)
def test_stage2_trains_resumes_samples_and_loads(
    overrides: list[str], tmp_path: Path, splits: Splits
) -> None:
    config = tiny(*overrides, "stage2.checkpoint_every=5")
    stage1 = build_stage1(config).eval()
    whole = train_stage2(config, stage1, tmp_path / "whole", splits=splits)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage2(config, stage1, tmp_path / "broken", splits=splits, on_step=stop)
    assert_same(whole, train_stage2(config, stage1, tmp_path / "broken", splits=splits, resume=True))
    assert_same(whole, load_stage2(tmp_path / "whole", stage1))
    labels = torch.arange(10) % splits.n_classes if config.transformer.condition == "class" else None
    samples = sample_images(whole, stage1, config, labels)
    assert samples.images.shape == (10, 3, 16, 16)
    again = sample_images(whole, stage1, config)  # each class in turn, where there are classes
    assert torch.equal(samples.images, again.images)


def test_training_images_are_measured_as_held_out_ones_are(tmp_path: Path, splits: Splits) -> None:
    """Over-fitting is their difference: dropout, or weights that are not the kept ones, would be in it."""
    config = tiny("transformer.dropout=0.5", "stage2.weight_average=0.5")
    stage1 = build_stage1(config).eval()
    model = train_stage2(config, stage1, tmp_path, splits=splits)
    last = pd.read_csv(tmp_path / "curves.csv").query("split == 'validation'").iloc[-1]
    n_held_out = len(splits.validation)
    for prefix, dataset in (("", splits.validation), ("seen_", splits.train)):
        with torch.no_grad():
            loss = model.loss(tokenise(stage1, dataset, limit=n_held_out).pairs)
        assert last[f"{prefix}code_loss"] == pytest.approx(float(loss.codes), rel=1e-5)
        assert last[f"{prefix}position_loss"] == pytest.approx(float(loss.positions), rel=1e-5)


def test_both_stages_train_under_bfloat16_autocast(tmp_path: Path, splits: Splits) -> None:
    """Autocast rebuilds what goes in and out of a model; weights and codebook stay in float32."""
    config = tiny("stage1.precision=bf16-mixed", "stage2.precision=bf16-mixed", "loss.adversarial_weight=0.5")
    stage1 = train_stage1(config, tmp_path / "stage1", splits=splits)
    assert stage1.codebook.dtype == stage1.encoder.conv_in.weight.dtype == torch.float32
    train_stage2(config, stage1, tmp_path / "stage2", splits=splits)
    for stage in ("stage1", "stage2"):
        curve = pd.read_csv(tmp_path / stage / "curves.csv").query("split == 'train'")["loss"]
        assert len(curve) == 8 and curve.notna().all()


def test_the_average_of_the_weights_is_kept_and_the_codebook_as_it_is(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the recurrence written out: w <- 0.5 w + 0.5 weights, from the weights after the first step."""
    seen: list[dict[str, Tensor]] = []
    update = WeightAverage.update

    def watched(average: WeightAverage) -> None:
        update(average)
        seen.append(weights(average._trained))

    monkeypatch.setattr(WeightAverage, "update", watched)
    kept = train_stage1(tiny("stage1.weight_average=0.5"), tmp_path, splits=splits)
    expected = seen[0]["encoder.conv_in.weight"]
    for after_step in seen[1:]:
        expected = 0.5 * expected + 0.5 * after_step["encoder.conv_in.weight"]
    torch.testing.assert_close(kept.encoder.conv_in.weight, expected)
    assert torch.equal(kept.codebook, seen[-1]["quantizer.codebook.codes"])
    assert_same(kept, load_stage1(tmp_path))


def test_checkpointed_activations_change_no_gradient(splits: Splits) -> None:
    gradients = []
    for setting in ("false", "true"):
        config = tiny(f"transformer.activation_checkpointing={setting}", "transformer.dropout=0.1")
        torch.manual_seed(0)
        stage1 = build_stage1(config).eval()
        model = build_transformer(config, stage1).train()
        torch.manual_seed(1)
        model.loss(tokenise(stage1, splits.validation).pairs).total.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_cached_tokens_are_encoded_once_and_are_the_same(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    stage1 = build_stage1(tiny()).eval()
    plain = train_stage2(tiny(), stage1, tmp_path / "plain", splits=splits)
    cached = train_stage2(tiny("data.cache_tokens=true"), stage1, tmp_path / "first", splits=splits)
    assert_same(plain, cached)
    assert len(list((tmp_path / "cache").glob("tokens-*.safetensors"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(type(stage1), "encode", None)
        again = train_stage2(tiny("data.cache_tokens=true"), stage1, tmp_path / "again", splits=splits)
    assert_same(plain, again)
    with torch.no_grad():
        stage1.encoder.conv_in.weight.mul_(1.5)
    train_stage2(tiny("data.cache_tokens=true"), stage1, tmp_path / "other", splits=splits)
    assert len(list((tmp_path / "cache").glob("tokens-*.safetensors"))) == 4


def test_cached_tokens_are_of_the_regions_that_are_kept_now(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights keep other regions where no more is changed than what is dropped after training."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    stage1 = build_stage1(tiny())
    for ratio, n_kept in ((0.5, 8), (0.75, 4)):
        config = tiny("data.cache_tokens=true", f"mask.evaluation_ratio={ratio}")
        model = build_stage1(config).eval()
        model.load_state_dict(stage1.state_dict())
        assert tokenise_splits(config, model, splits, make_fabric()).train.pairs.n_pairs == n_kept


def test_cached_tokens_are_of_the_batches_that_random_masks_are_drawn_in(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    both = "mask.kind=random", "transformer.order=random", "data.cache_tokens=true"
    stage1 = build_stage1(tiny(*both)).eval()
    for size in (4, 8):
        config = tiny(*both, f"evaluation.batch_size={size}")
        found = tokenise_splits(config, stage1, splits, make_fabric()).train.pairs
        anew = tokenise(stage1, splits.train, order="random", batch_size=size, seed=config.seed).pairs
        assert torch.equal(found.positions, anew.positions)


def test_a_damaged_cache_of_tokens_is_encoded_anew(tmp_path: Path, splits: Splits) -> None:
    stage1 = build_stage1(tiny()).eval()
    path = tmp_path / "tokens.safetensors"
    first = cached_tokens(path, lambda: tokenise(stage1, splits.validation)).pairs.codes.clone()
    path.write_bytes(path.read_bytes()[:100])
    again = cached_tokens(path, lambda: tokenise(stage1, splits.validation))
    assert torch.equal(first, again.pairs.codes) and first.dtype == torch.int16
    assert again.to("cpu").pairs.positions.dtype == torch.int64


def test_a_damaged_state_is_named_and_the_one_before_is_used(tmp_path: Path, splits: Splits) -> None:
    config = tiny("stage1.checkpoint_every=3")
    whole = train_stage1(config, tmp_path, splits=splits)
    newest = tmp_path / "state.pt"
    newest.write_bytes(newest.read_bytes()[:5000])
    with pytest.warns(DamagedStateWarning, match=r"state\.pt is no training state.*goes on from .*previous"):
        resumed = train_stage1(config, tmp_path, splits=splits, resume=True)
    assert_same(whole, resumed)
    assert (tmp_path / "state.damaged.pt").exists()
    newest.unlink()  # killed between the two renames of a save
    assert_same(whole, train_stage1(config, tmp_path, splits=splits, resume=True))


def test_a_run_that_diverges_writes_nothing(tmp_path: Path, splits: Splits) -> None:
    """Nothing is logged before the save, so it is this that must notice."""
    config = tiny("stage1.log_every=100", "stage1.checkpoint_every=2", "stage1.learning_rate=1e30")
    with pytest.raises(FloatingPointError, match="learning_rate"):
        train_stage1(config, tmp_path, splits=splits)
    assert {path.name for path in tmp_path.iterdir()} <= {"progress.json", ".lock"}


def test_a_stage1_that_is_not_finite_neither_encodes_nor_serves_stage2(
    tmp_path: Path, splits: Splits
) -> None:
    stage1 = build_stage1(tiny()).eval()
    with torch.no_grad():
        stage1.encoder.conv_in.weight[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"encoder\.conv_in\.weight"):
        train_stage2(tiny(), stage1, tmp_path, splits=splits)
    with pytest.raises(CheckpointError, match=r"encoder\.conv_in\.weight"):
        tokenise(stage1, splits.validation)


def run_train(*arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """``mvqlab train`` as a process of its own."""
    return in_processes("-m", "mvqlab", "train", *arguments, environment=environment)


def in_processes(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Python with `command`, its words in a pipe."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MVQLAB_QUIET": "1", **(environment or {})}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, splits: Splits) -> None:
    """SIGKILL while a state is saved or once it is, at random ones of them, twice; then to the end."""
    changes = ["stage1.steps=20", "stage1.checkpoint_every=2", "loss.adversarial_weight=0.5"]
    changes += ["mask.kind=random"]  # so that random numbers have to go on where they were
    killed = ["--preset", "shapes32", "--stage", "1", "--out", str(tmp_path / "killed")]
    choice = random.Random(os.getpid())
    for kill in range(2):
        moment = {"count": choice.randint(2, 4), "is_before": choice.random() < 0.5}
        environment = halting(tmp_path / f"halt{kill}", "state.pt", **moment)
        more = [*tiny_runs.tiny_overrides(*STEPS, *changes), *(["--resume"] if kill else [])]
        process = run_train(*killed, *more, environment=environment)
        words, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL, words
    resumed = train_stage1(tiny(*changes), tmp_path / "killed", splits=splits, resume=True)
    assert_same(train_stage1(tiny(*changes), tmp_path / "whole", splits=splits), resumed)


# What torchrun starts in each of two processes, once for several trainings. The first of them is the command.
IN_TURN = """import json
import sys
from pathlib import Path

import torch

from mvqlab.cli.main import main
from mvqlab.config import load_config
from mvqlab.training import load_stage1, train_stage1, train_stage2

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
command = ["train", "--preset", "shapes32", "--stage", "1", "--out", str(folder / "exact" / "1")]
if main([*command, *settings["exact"]]) != 0:
    sys.exit(1)
torch.distributed.barrier()  # the first process has written it
exact, budgets = (load_config("shapes32", settings[name]) for name in ("exact", "budgets"))
train_stage2(exact, load_stage1(folder / "exact" / "1"), folder / "exact" / "2")
train_stage2(budgets, train_stage1(budgets, folder / "budgets" / "1"), folder / "budgets" / "2")
"""
# Groups of one channel would leave biases before them without any gradient but rounding, which Adam enlarges.
EXACT = [
    "backbone.norm_groups=2",
    "stage1.steps=6",
    "quantizer.start_step=2",
    "quantizer.restart_patience=1",
    "mask.kind=truth",
]
TWO = {
    "exact": [*EXACT, "transformer.dropout=0"],
    "budgets": ["mask.budget=threshold", "stage1.steps=12", "quantizer.restart_patience=1"],
}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages of every one of `TWO`, as two processes that torchrun started have trained them."""
    folder = tmp_path_factory.mktemp("two")
    settings = json.dumps({name: tiny_runs.tiny_overrides(*STEPS, *changes) for name, changes in TWO.items()})
    (folder / "in_turn.py").write_text(IN_TURN)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = in_processes(*torchrun, str(folder / "in_turn.py"), str(folder), settings)
    words, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, words
    return folder


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_twice_the_batch(
    of_two: Path, tmp_path: Path, splits: Splits
) -> None:
    """Gradients are averaged; codebook and restarts are one."""
    config = tiny(*TWO["exact"], "stage1.batch_size=16", "stage2.batch_size=16")
    stage1 = load_stage1(of_two / "exact" / "1")
    expected = train_stage1(config, tmp_path / "1", splits=splits).state_dict()
    for name, tensor in stage1.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-3, msg=name)
    expected = train_stage2(config, stage1, tmp_path / "2", splits=splits).state_dict()
    for name, tensor in load_stage2(of_two / "exact" / "2", stage1).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_two_processes_agree_where_images_have_budgets(of_two: Path) -> None:
    """Each keeps other numbers of regions in a step: no gather waits for rows that do not come."""
    stage1 = load_stage1(of_two / "budgets" / "1")
    assert all(tensor.isfinite().all() for tensor in stage1.state_dict().values())
    assert load_stage2(of_two / "budgets" / "2", stage1).has_end


def test_tokens_are_the_encoders_pairs_in_the_asked_order(splits: Splits) -> None:
    model = build_stage1(tiny()).eval()
    tokens = tokenise(model, splits.validation, batch_size=7)
    images = torch.stack([splits.validation[index]["image"] for index in range(len(splits.validation))])
    encoding = model.encode(images)
    assert torch.equal(tokens.pairs.codes, encoding.codes)
    assert torch.equal(tokens.pairs.positions, encoding.positions)
    assert tokens.conditions.tolist() == [splits.validation[i]["label"] for i in range(len(tokens))]
    by_score = tokenise(model, splits.validation, order="score").pairs
    scores = encoding.scores.gather(1, by_score.positions)
    assert (scores.diff(dim=1) <= 0).all()
    assert torch.equal(by_score.in_order(by_score.positions).codes, encoding.codes)


def test_encoding_is_that_of_evaluation_and_leaves_the_model_in_its_mode(splits: Splits) -> None:
    model = build_stage1(tiny("mask.exploration=5", "mask.mask_ratio=[0.2,0.8]")).train()
    positions = tokenise(model, splits.validation).pairs.positions
    assert model.training
    assert torch.equal(positions, tokenise(model.eval(), splits.validation).pairs.positions)


def test_resuming_under_other_settings_names_them(tmp_path: Path, splits: Splits) -> None:
    train_stage1(tiny(), tmp_path, splits=splits)
    changed = tiny("quantizer.codebook_size=32", "seed=3", "stage1.log_every=2", "transformer.width=12")
    with pytest.raises(CheckpointError) as caught:
        train_stage1(changed, tmp_path, splits=splits, resume=True)
    words = str(caught.value)
    assert "quantizer.codebook_size: was 16, now 32" in words and "seed: was 0, now 3" in words
    assert "log_every" not in words and "transformer" not in words


def test_a_new_run_that_is_cut_short_leaves_the_finished_one_whole(tmp_path: Path, splits: Splits) -> None:
    finished = train_stage1(tiny(), tmp_path, splits=splits)

    def stop(step: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage1(tiny("quantizer.codebook_size=32"), tmp_path, splits=splits, on_step=stop)
    assert_same(finished, load_stage1(tmp_path))


def test_resuming_nothing_says_so(tmp_path: Path, splits: Splits) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train_stage1(tiny(), tmp_path, splits=splits, resume=True)


def test_tensorboard_logs_are_written_when_asked_for(tmp_path: Path, splits: Splits) -> None:
    pytest.importorskip("tensorboard")
    train_stage1(tiny("stage1.tensorboard=true"), tmp_path, splits=splits)
    assert list((tmp_path / "tensorboard").glob("events*"))


class Heard:
    """Keeps what a logger of Fabric's would be told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ended = ""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))

    def save(self) -> None:
        """There is nothing to write."""

    def finalize(self, status: str) -> None:
        self.ended = status


def test_loggers_hear_the_rows_of_the_curves_and_how_it_ended(tmp_path: Path, splits: Splits) -> None:
    logger = Heard()
    train_stage1(tiny(), tmp_path, splits=splits, loggers=[logger])
    rows = pd.read_csv(tmp_path / "curves.csv")
    assert [(step, next(iter(values)).split("/")[0]) for step, values in logger.rows] == [
        (row.step, row.split) for row in rows.itertuples()
    ]
    first = {name.removeprefix("train/"): value for name, value in logger.rows[0][1].items()}
    assert first["loss"] == pytest.approx(rows["loss"][0]) and logger.ended == "success"
    stopped = Heard()

    def stop(step: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage1(tiny(), tmp_path / "stopped", splits=splits, loggers=[stopped], on_step=stop)
    assert stopped.ended == "failed"


def test_stage2_refuses_another_stage1(tmp_path: Path, splits: Splits) -> None:
    """Neither settings that the stage 1 given was not trained with, nor going on with another's codes."""
    stage1 = build_stage1(tiny()).eval()
    with pytest.raises(ConfigError, match=r"trained with mask\.mask_ratio=0\.5.* give stage 2 the same"):
        train_stage2(tiny("mask.mask_ratio=0.75"), stage1, tmp_path, splits=splits)
    with pytest.raises(ConfigError, match=r"trained with quantizer\.kind=ema"):  # which is not written
        train_stage2(tiny("quantizer.kind=simvq"), stage1, tmp_path, splits=splits)
    with pytest.raises(ConfigError, match=r"trained with quantizer\.kind=simvq"):
        train_stage2(tiny(), build_stage1(tiny("quantizer.kind=simvq")), tmp_path, splits=splits)
    train_stage2(tiny(), stage1, tmp_path, splits=splits)
    other = build_stage1(tiny()).eval()
    with pytest.raises(CheckpointError, match="the codes of another stage 1"):
        train_stage2(tiny(), other, tmp_path, splits=splits, resume=True)


@pytest.mark.slow
# the idle wrapper around `Pairs` that checks shapes parts the graph, and dynamo then looks at gradients
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_training_learns_what_plain_training_learns(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as torch.compile does it; turning that into C++ would take minutes."""
    traced = []

    def compile_without_code(module: nn.Module) -> None:
        traced.append(type(module).__name__)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_code)
    steps = ["quantizer.start_step=2", "stage1.steps=3", "stage2.steps=3"]
    models = {}
    for compiled in ("false", "true"):
        config = tiny(*steps, f"stage1.compile={compiled}", f"stage2.compile={compiled}")
        stage1 = train_stage1(config, tmp_path / compiled / "1", splits=splits)
        models[compiled] = stage1, train_stage2(config, stage1, tmp_path / compiled / "2", splits=splits)
    for plain, compiled in zip(models["false"], models["true"], strict=True):
        for name, tensor in plain.state_dict().items():
            torch.testing.assert_close(compiled.state_dict()[name], tensor, atol=1e-3, rtol=1e-3, msg=name)
    assert traced == ["MQVAE", "Stackformer"]
