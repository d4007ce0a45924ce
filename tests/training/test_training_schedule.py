"""Learning rates, loop and checkpoint files against known values and real faults."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from mvqlab.config import ConfigError, Stage1Config, load_config
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.curves import Curves, DamagedCurvesWarning
from mvqlab.training.loop import is_due, run_steps
from mvqlab.training.run_settings import load_settings
from mvqlab.training.schedule import ScheduleWarning, learning_rate, tell_of_other_schedule
from mvqlab.training.state import DamagedStateWarning, load_state, save_state
from mvqlab.training.weights import check_finite_tensors, load_weights, not_finite, save_weights


def test_learning_rate_warms_up_then_falls_to_zero() -> None:
    options = Stage1Config(steps=110, learning_rate=2.0, warmup_steps=10)
    assert learning_rate(0, options) == pytest.approx(0.2)
    assert learning_rate(9, options) == pytest.approx(2.0)
    assert learning_rate(10, options) == pytest.approx(2.0)
    assert learning_rate(60, options) == pytest.approx(1.0)
    assert learning_rate(109, options) == pytest.approx(1.0 + math.cos(math.pi * 0.99))
    assert learning_rate(70, Stage1Config(steps=110, learning_rate=2.0, cosine=False)) == 2.0


def released_rates(options: Stage1Config) -> list[float]:
    """The released schedule from its formulas: step / warm-up, then the cosine, at least the least rate."""
    rates = []
    for step in range(options.steps):
        if step < options.warmup_steps:
            share = step / options.warmup_steps
        else:
            progress = (step - options.warmup_steps) / (options.steps - options.warmup_steps)
            least = options.min_learning_rate / options.learning_rate
            share = max(0.5 * (math.cos(math.pi * progress) + 1.0), least)
        rates.append(options.learning_rate * share)
    return rates


@pytest.mark.parametrize("least", [0.0, 0.3])
@pytest.mark.parametrize("warm_up", [0, 1, 10])
def test_learning_rates_can_be_those_of_the_released_code(least: float, warm_up: int) -> None:
    options = Stage1Config(
        steps=110, learning_rate=2.0, warmup_steps=warm_up, warmup_from_zero=True, min_learning_rate=least
    )
    rates = [learning_rate(step, options) for step in range(110)]
    assert rates == pytest.approx(released_rates(options), abs=1e-12)
    assert rates[0] == (0.0 if warm_up else 2.0) and rates[-1] >= least


@pytest.mark.parametrize("preset", ["ffhq256", "imagenet256"])
def test_published_presets_have_the_released_learning_rates(preset: str) -> None:
    options = load_config(preset).stage1
    first = [learning_rate(step, options) for step in range(3)]
    assert first == pytest.approx([n * options.learning_rate / options.warmup_steps for n in range(3)])
    stage2 = load_config(preset).stage2
    assert learning_rate(0, stage2) == 5e-4  # no warm-up
    assert learning_rate(stage2.steps // 2, stage2) == pytest.approx(2.5e-4)


def test_a_least_rate_above_the_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most learning_rate"):
        load_config("shapes32", ["stage2.min_learning_rate=1"])


def test_a_run_that_is_lengthened_is_told_by_how_much_its_rate_springs_up() -> None:
    """The cosine had come to 0 after 100 steps; over 200 it is half way down there."""
    before, now = (Stage1Config(steps=steps, learning_rate=8.2e-4, warmup_steps=0) for steps in (100, 200))
    with pytest.warns(ScheduleWarning, match=r"100 steps.*200.*step 101 on it is 0\.00041, not 0,"):
        tell_of_other_schedule(before, now, 100)
    with pytest.warns(ScheduleWarning, match=r"step 51 on"):  # before its end, and with fewer
        tell_of_other_schedule(now, before, 50)
    tell_of_other_schedule(now, before, 100)  # no step is left to take
    tell_of_other_schedule(before, before, 60)
    unchanged = {"cosine": False}
    tell_of_other_schedule(before.model_copy(update=unchanged), now.model_copy(update=unchanged), 100)


def test_things_are_due_at_their_interval_and_at_the_end() -> None:
    assert [step for step in range(1, 11) if is_due(step, 4, 10)] == [4, 8, 10]
    assert [step for step in range(1, 11) if is_due(step, 0, 10)] == [10]


def loop(folder: Path, steps: int, first: int = 0, loss: float = 1.0) -> list[str]:
    events: list[str] = []
    curves = Curves(folder, up_to_step=first)

    def take_step(step: int) -> dict[str, torch.Tensor]:
        events.append(f"step {step}")
        return {"loss": torch.tensor(loss), "l1": torch.tensor(0.5)}

    run_steps(
        "test",
        Stage1Config(steps=steps, log_every=2, validate_every=3, checkpoint_every=4),
        first,
        take_step=take_step,
        validate=lambda: {"loss": torch.tensor(2.0)},
        save=lambda done: (events.append(f"save {done}"), curves.save()),
        curves=curves,
        folder=folder,
    )
    return events


def test_loop_steps_logs_and_saves(tmp_path: Path) -> None:
    assert loop(tmp_path, 5) == ["step 0", "step 1", "step 2", "step 3", "save 4", "step 4", "save 5"]
    table = pd.read_csv(tmp_path / "curves.csv")
    assert table[["step", "split"]].values.tolist() == [
        [2, "train"],
        [3, "validation"],
        [4, "train"],
        [5, "train"],
        [5, "validation"],
    ]
    assert (tmp_path / "progress.json").exists()


def test_a_resumed_loop_goes_on_with_the_curves(tmp_path: Path) -> None:
    loop(tmp_path, 4)
    assert loop(tmp_path, 6, first=4)[0] == "step 4"
    steps = pd.read_csv(tmp_path / "curves.csv").query("split == 'train'")["step"].tolist()
    assert steps == [2, 4, 6]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="learning_rate"):
        loop(tmp_path, 4, loss=float("nan"))


def test_a_run_whose_loss_is_not_finite_is_not_saved_though_nothing_is_logged(tmp_path: Path) -> None:
    saved = []
    for name in ("loss", "discriminator"):
        with pytest.raises(FloatingPointError, match=f"step 6: the loss.*{'' if name == 'loss' else name}"):
            run_steps(
                "test",
                Stage1Config(steps=9, log_every=100, checkpoint_every=3),
                0,
                take_step=lambda n, name=name: {
                    "loss": torch.ones(()),
                    name: torch.tensor([1.0, torch.nan][n > 3]),
                },
                validate=lambda: {"loss": torch.tensor(2.0)},
                save=saved.append,
                curves=Curves(tmp_path),
                folder=tmp_path,
            )
    assert saved == [3, 3]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path, bad: float) -> None:
    model, path = torch.nn.Linear(3, 5), tmp_path / "weights.safetensors"
    save_weights(model, path)
    good = path.read_bytes()
    with torch.no_grad():
        model.bias[2] = bad
    with pytest.raises(FloatingPointError, match="bias"):
        save_weights(model, path)
    assert path.read_bytes() == good
    save_file(model.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors holds NaN.*bias"):
        load_weights(torch.nn.Linear(3, 5), path)


def test_resume_falls_back_on_the_last_finite_state(tmp_path: Path) -> None:
    """Older versions wrote states that had diverged; with two of them there is nothing to go on from."""
    path = tmp_path / "state.pt"
    save_state({"stage": 1, "step": 3, "model": {"weight": torch.ones(2)}}, path)
    diverged = {
        "stage": 1,
        "step": 6,
        "optimiser": {"state": {0: {"exp_avg": torch.tensor([0.0, torch.nan])}}},
    }
    with pytest.raises(FloatingPointError, match=r"optimiser\.state\.0\.exp_avg"):
        check_finite_tensors(diverged, "stage 1")
    assert load_state(path, stage=1, last_step=9)["step"] == 3
    path.rename(tmp_path / "state.previous.pt")
    torch.save(diverged, path)
    with pytest.warns(DamagedStateWarning, match=r"exp_avg.*goes on from .*previous"):
        assert load_state(path, stage=1, last_step=9)["step"] == 3
    torch.save(diverged, tmp_path / "state.previous.pt")
    with pytest.raises(CheckpointError, match="train afresh"):
        load_state(path, stage=1, last_step=9)


def test_a_threshold_that_no_step_has_set_yet_is_no_fault() -> None:
    assert not_finite({"model": {"mask.threshold": torch.tensor(torch.nan)}}) == []
    assert not_finite({"model": {"mask.threshold": torch.tensor(torch.inf)}}) == ["model.mask.threshold"]


def test_weights_come_back_and_damage_is_named(tmp_path: Path) -> None:
    model, path = torch.nn.Linear(3, 5), tmp_path / "weights.safetensors"
    save_weights(model, path, step=7)
    other = torch.nn.Linear(3, 5)
    load_weights(other, path)
    assert torch.equal(model.weight, other.weight)
    with pytest.raises(CheckpointError, match="another model"):
        load_weights(torch.nn.Linear(3, 4), path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged"):
        load_weights(other, path)
    with pytest.raises(CheckpointError, match="no weights at"):
        load_weights(other, tmp_path / "absent.safetensors")


class Payload:
    """Something that only a full pickle could restore."""


def test_a_state_with_code_in_it_is_refused(tmp_path: Path) -> None:
    save_state({"stage": 1, "step": 1, "tensor": torch.ones(2)}, tmp_path / "state.pt")
    assert load_state(tmp_path / "state.pt", stage=1, last_step=1)["step"] == 1
    torch.save({"stage": 1, "step": Payload()}, tmp_path / "hostile.pt")
    with pytest.raises(CheckpointError, match=r"hostile\.pt is no training state"):
        load_state(tmp_path / "hostile.pt", stage=1, last_step=1)
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"state\.pt is no training state"):
        load_state(tmp_path / "state.pt", stage=1, last_step=1)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"step": 2}, "of stage 1"),
        ({"stage": 2, "step": 2}, "of stage 1"),
        ({"stage": 1, "step": 9}, "gone 9 steps, more than the 5"),
        ({"stage": 1}, "no training state of this lab"),
        ([1, 2], "no training state of this lab"),
    ],
)
def test_a_state_that_cannot_be_gone_on_from_is_refused(tmp_path: Path, state: object, says: str) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=says):
        load_state(tmp_path / "state.pt", stage=1, last_step=5)


def test_an_empty_state_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with pytest.raises(CheckpointError, match="restore it, or train afresh"):
        load_state(tmp_path / "state.pt", stage=1, last_step=5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_in_the_place_of_a_state_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt is a TorchScript archive"):
        load_state(tmp_path / "state.pt", stage=1, last_step=5)


def test_damaged_curves_cost_a_warning_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(DamagedCurvesWarning, match="cannot be read"):
        assert Curves(tmp_path, up_to_step=3).rows == []


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.yaml"):
        load_settings(tmp_path)
