"""The steps that students read: what they do by hand, and that trainings do the same."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import tiny
from torch import nn

from mvqlab.config import Config, ConfigError
from mvqlab.data import Batch, Splits, batch_indices, batches, batches_in_order, build_splits
from mvqlab.data.dataset import joined
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import TokenModel, build_stage1
from mvqlab.support.one_thread import one_thread
from mvqlab.training import (
    Judged,
    build_transformer,
    run,
    stage1_step,
    stage2_step,
    tokenise,
    train_stage1,
    train_stage2,
    weights,
)
from mvqlab.training.launch import make_fabric
from mvqlab.training.losses import Judges
from mvqlab.training.optimiser import build_optimiser
from mvqlab.training.schedule import learning_rate, set_learning_rate
from mvqlab.training.stage1 import adam
from mvqlab.training.stage1_step import Adversary
from mvqlab.training.updates import FabricUpdates
from mvqlab.training.warm_up import bypass_or_start_quantizer, bypass_quantizer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def splits() -> Splits:
    return build_splits(tiny().data)


@pytest.fixture
def batch(splits: Splits) -> Batch:
    return next(batches_in_order(splits.train, 5))


def built(config: Config) -> TokenModel:
    torch.manual_seed(0)
    return build_stage1(config).train()


def assert_same(model: nn.Module, other: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_step_of_stage1_is_forward_loss_backward_clip_and_update(batch: Batch) -> None:
    """Written out by hand, with plain gradient descent."""
    config = tiny("loss.squared_weight=2", "stage1.gradient_clip=0.01")
    model, by_hand = built(config), built(config)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = stage1_step(Judged(model, config.loss), optimiser, batch, config)

    made = by_hand(batch.images)
    l1, squared = F.l1_loss(made.images, batch.images), F.mse_loss(made.images, batch.images)
    total = l1 + 2.0 * squared + made.quantizer_loss
    total.backward()
    norm = torch.stack([p.grad.norm() for p in by_hand.parameters() if p.grad is not None]).norm()
    assert norm > 0.01
    with torch.no_grad():
        for parameter in by_hand.parameters():
            if parameter.grad is not None:
                parameter -= 0.5 * parameter.grad * (0.01 / norm)
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-5)
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-6)
    assert losses["l1"].item() == pytest.approx(l1.item(), rel=1e-6)
    assert not losses["loss"].requires_grad and all(p.grad is None for p in model.parameters())


def test_the_discriminator_learns_from_the_images_as_they_were_made(batch: Batch) -> None:
    """Its update comes second; what it judges is from before the model's."""
    config = tiny("loss.adversarial_weight=0.5")
    model = built(config)
    discriminator = PatchDiscriminator(config.discriminator)
    its_own = deepcopy(discriminator)
    with torch.no_grad():
        made = deepcopy(model)(batch.images).images
    adversary = Adversary(discriminator, torch.optim.SGD(discriminator.parameters(), lr=0.5), ramp=1.0)
    judged = Judged(model, config.loss, Judges(None, discriminator))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = stage1_step(judged, optimiser, batch, config, adversary)
    assert losses["adversarial_weight"] > 0

    real, fake = its_own(batch.images), its_own(made)
    verdict = 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())
    verdict.backward()
    assert losses["discriminator"].item() == pytest.approx(verdict.item(), rel=1e-5)
    for mine, theirs in zip(discriminator.parameters(), its_own.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.5 * theirs.grad, atol=1e-6, rtol=1e-5)
        assert mine.requires_grad and mine.grad is None


def test_a_step_of_stage2_moves_weights_down_the_cross_entropies(splits: Splits) -> None:
    config = tiny("transformer.position_weight=0.5", "transformer.dropout=0")
    stage1 = built(config).eval()
    tokens = tokenise(stage1, splits.train, limit=6)
    model = build_transformer(config, stage1)
    by_hand = deepcopy(model)
    losses = stage2_step(model, torch.optim.SGD(model.parameters(), lr=0.3), tokens, config)

    logits = by_hand(tokens.pairs)
    codes = F.cross_entropy(logits.code_logits.flatten(0, 1), tokens.pairs.codes.flatten())
    positions = F.cross_entropy(logits.position_logits.flatten(0, 1), tokens.pairs.positions.flatten())
    (codes + 0.5 * positions).backward()
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.3 * theirs.grad, atol=1e-6, rtol=1e-5)
    assert losses["code_loss"].item() == pytest.approx(codes.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((codes + 0.5 * positions).item(), rel=1e-5)


def test_a_students_loop_trains_what_train_stage1_trains(tmp_path: Path, splits: Splits) -> None:
    """To the bit: nothing else happens in a training."""
    config = tiny("loss.adversarial_weight=0.5", "loss.adversarial_start=1", "stage1.gradient_clip=1")
    trained = train_stage1(config, tmp_path, splits=splits)

    torch.manual_seed(config.seed)
    model = build_stage1(config).to(memory_format=torch.channels_last).train()
    discriminator = PatchDiscriminator(config.discriminator).to(memory_format=torch.channels_last)
    judged = Judged(model, config.loss, Judges(None, discriminator))
    optimiser, other = adam(model, config.stage1), adam(discriminator, config.stage1)
    stream = batches(splits.train, 4, seed=config.seed)
    for step in range(3):
        for each in (optimiser, other):
            set_learning_rate(each, learning_rate(step, config.stage1))
        bypass_or_start_quantizer(
            model, step, 1, lambda _: next(batches(splits.train, 4, seed=config.seed, start=1))
        )
        adversary = Adversary(discriminator, other, ramp=1.0) if step >= 1 else None
        stage1_step(judged, optimiser, next(stream), config, adversary)
    assert_same(model, trained)


def test_a_students_loop_trains_what_train_stage2_trains(tmp_path: Path, splits: Splits) -> None:
    config = tiny("transformer.condition=class", "transformer.condition_dropout=0.5")
    stage1 = built(config).eval()
    trained = train_stage2(config, stage1, tmp_path, splits=splits)

    tokens = tokenise(stage1, splits.train)
    torch.manual_seed(config.seed)
    model = build_transformer(config, stage1, splits.n_classes)
    optimiser = build_optimiser(model, config.stage2)
    for step in range(3):
        set_learning_rate(optimiser, learning_rate(step, config.stage2))
        rows = torch.tensor(batch_indices(len(tokens), 4, config.seed, step))
        stage2_step(model, optimiser, tokens[rows], config)
    assert_same(model, trained)


def test_gradients_of_two_batches_make_one_update(batch: Batch) -> None:
    """Plain gradient descent on their mean; without a gradient left for the next step."""
    config = tiny("quantizer.start_step=9")
    model = built(config)
    bypass_quantizer(model)
    whole = deepcopy(model)
    halves = [Batch(batch.images[rows], batch.labels[rows], []) for rows in (slice(0, 2), slice(2, 4))]
    both = joined(halves)
    stage1_step(Judged(whole, config.loss), torch.optim.SGD(whole.parameters(), lr=0.3), both, config)

    fabric = make_fabric()
    updates = FabricUpdates(fabric)
    judged, optimiser = fabric.setup(Judged(model, config.loss), torch.optim.SGD(model.parameters(), lr=0.3))
    before = model.encoder.conv_in.weight.clone()
    for n, half in enumerate(halves):
        assert torch.equal(model.encoder.conv_in.weight, before)
        with updates.of_batch(2, n == 1, judged):
            stage1_step(judged, optimiser, half, config, updates=updates)
    for mine, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
        assert mine.grad is None


@pytest.mark.parametrize("stage", [1, 2])
def test_a_save_looks_for_nan_once(
    stage: int, tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all that is in the state, of which the weights are a part."""
    config, seen = tiny(), []
    stage1 = built(config).eval()
    check = weights.check_finite_tensors

    def watched(holder: object, what: str) -> None:
        seen.append(what)
        check(holder, what)

    for module in (weights, run):
        monkeypatch.setattr(module, "check_finite_tensors", watched)
    if stage == 1:
        train_stage1(config, tmp_path, splits=splits)
    else:
        train_stage2(config, stage1, tmp_path, splits=splits)
    assert seen == [f"stage {stage} after step 3"]


@pytest.mark.parametrize("stage", [1, 2])
def test_a_state_holds_what_it_has_always_held(stage: int, tmp_path: Path, splits: Splits) -> None:
    """These names are a file format: older runs go on by them."""
    config = tiny(
        "stage1.weight_average=0.5", "transformer.condition=caption", "transformer.caption_length=40"
    )
    if stage == 1:
        train_stage1(config, tmp_path, splits=splits)
    else:
        train_stage2(config, built(config).eval(), tmp_path, splits=splits)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    common = {"stage", "settings", "trained_on", "step", "model", "average", "optimiser", "random"}
    its_own = {1: {"discriminator", "discriminator_optimiser"}, 2: {"stage1", "captions"}}[stage]
    assert state.keys() == common | its_own
    assert state["average"].keys() >= {"n_averaged"} if stage == 1 else state["average"] == {}


def test_a_stage2_that_cannot_be_trained_here_is_refused_before_stage1_is_trained(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"stage2\.precision=16-mixed needs a GPU"):
        train_stage1(tiny("stage2.precision=16-mixed"), tmp_path / "1", splits=splits)
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"stage2\.optimiser=muon"):
        patch.delattr(torch.optim, "Muon", raising=False)
        train_stage1(tiny("stage2.optimiser=muon"), tmp_path / "1", splits=splits)
    assert not (tmp_path / "1").exists()
    none_is_asked_for = ("stage2.precision=16-mixed", "transformer.model=none")
    train_stage1(tiny(*none_is_asked_for), tmp_path / "1", splits=splits)
