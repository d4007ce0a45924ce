"""What both stages share where they train on the device: time, steps, curves, averages and files."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mvqlab.config import Config, ConfigError, OptimiserConfig
from mvqlab.models.backbone import ResidualBlock, SelfAttention
from mvqlab.models.patch_backbone import DepthwiseBlock
from mvqlab.models.transformer import Block
from mvqlab.training.captured import CapturedSteps, Means, RunningAverage, Schedule
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.curves import Curves
from mvqlab.training.loop import Losses
from mvqlab.training.run_settings import save_settings
from mvqlab.training.updates import MixedUpdates
from mvqlab.training.weights import check_finite_tensors, write_weights

Say = Callable[[str], None]
OnSave = Callable[[], object]
CALIBRATION = 20  # steps that are timed to know how many fit
SAVE_EVERY = 30.0  # seconds
READ_EVERY = 2.0  # seconds between two waits for the device
AVERAGE_FROM = 0.1  # share of the run after which the average of weights begins anew


class Done(NamedTuple):
    """A model as it was kept, in evaluation mode, the steps that it took and its last held-out measures."""

    model: Any
    n_steps: int
    held_out: dict[str, float]


class DeviceRun(ABC):
    """A model in training, its average, and what is common to both stages: time, curves, files."""

    stage: int
    losses: Sequence[str]

    def __init__(
        self,
        model: nn.Module,
        config: Config,
        options: OptimiserConfig,
        folder: Path,
        device: torch.device,
        compile_blocks: bool,
    ) -> None:
        if options.precision == "16-mixed":  # there is no scaler in a captured step
            raise ConfigError("training on a device has no precision=16-mixed: set bf16-mixed, or 32-true")
        if options.accumulate > 1:
            raise ConfigError("a step on the device has one batch: set accumulate=1")
        self.config, self.options, self.folder, self.device = config, options, folder, device
        self.model = model
        self.average = RunningAverage(model, copy.deepcopy(model), options.weight_average)
        if compile_blocks:
            compile_parts(model)
        self.schedule = Schedule(options, device)
        self.means = Means(self.losses, device)
        self.curves = Curves(folder)
        self.optimiser = self._build_optimiser()
        self.updates = MixedUpdates(device, is_mixed=options.precision == "bf16-mixed")
        self.n_steps = 0

    @abstractmethod
    def _build_optimiser(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def shapes(self) -> list[int]:
        """What steps differ in."""

    @abstractmethod
    def update(self, shape: int) -> Losses:
        """The stage's training step with a fresh batch; returns at least the losses named in `losses`.

        It leaves no gradients, so that every captured graph allocates its own.
        """

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Held-out measures of the averaged model."""

    @abstractmethod
    def prepare(self) -> None:
        """Whatever precedes the captured steps."""

    def step(self, shape: int) -> None:
        """One update, without a wait for the device."""
        self.schedule.advance()
        losses = self.update(shape)
        self.average.update()
        self.means.add(losses)

    def train(
        self, seconds: float, within: float | None, n_steps: int | None, say: Say, on_save: OnSave
    ) -> None:
        """Train for `seconds` once all is prepared, at most until `within` from now, or for `n_steps`."""
        began = time.perf_counter()
        torch.backends.cudnn.benchmark = True  # shapes stay: the quickest convolution is looked for once
        self.model.train()
        self.prepare()
        steps = CapturedSteps(self.step, self.shapes(), self.device, self.config.seed)
        self.n_steps += steps.capture()
        prepared = time.perf_counter() - began
        end = prepared + seconds if within is None else min(prepared + seconds, within)
        step_seconds = self._calibrate(steps)
        left = end - (time.perf_counter() - began)
        total = n_steps or self.n_steps + max(1, int(left / step_seconds))
        self.plan(total)
        say(f"  prepared in {prepared:.1f} s, {1e3 * step_seconds:.2f} ms a step, {total} steps in all")
        saved = said = time.perf_counter()
        chunk = max(1, round(READ_EVERY / step_seconds))
        restart_at = int(AVERAGE_FROM * total)
        if has_restarted := self.n_steps >= restart_at:  # what prepares counts, too
            self.average.restart()
        while self.n_steps < total and (n_steps or time.perf_counter() - began < end):
            n = min(chunk, total - self.n_steps)
            for _ in range(n):
                steps()
            self.n_steps += n
            if not has_restarted and self.n_steps >= restart_at:
                self.average.restart()
                has_restarted = True
            values = self.means.read()  # waits for the device
            now = time.perf_counter()
            self.curves.add(self.n_steps, "train", now - began, **values)
            if now - said >= 10.0:
                say(f"  step {self.n_steps} of {total}: {words(values)}")
                said = now
            if now - saved >= SAVE_EVERY:
                self.save(now - began)
                on_save()
                saved = time.perf_counter()
        self.save(time.perf_counter() - began)
        on_save()
        say(f"  {self.n_steps} steps: {words(self.held_out)}")

    def plan(self, total: int) -> None:
        """Take note that there will be `total` steps."""
        self.schedule.total.fill_(float(total))

    def _calibrate(self, steps: CapturedSteps) -> float:
        """Seconds of a step."""
        self._wait()
        began = time.perf_counter()
        for _ in range(CALIBRATION):
            steps()
        self._wait()
        self.n_steps += CALIBRATION
        return (time.perf_counter() - began) / CALIBRATION

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def save(self, seconds: float) -> None:
        """Validate the average, and write settings, weights and curves, each whole.

        Raises FloatingPointError, before anything is written, if a weight is not finite.
        """
        check_finite_tensors(self.average.model().state_dict(), f"stage {self.stage}, step {self.n_steps}")
        self.held_out = self.validate()
        self.curves.add(self.n_steps, "validation", seconds, **self.held_out)
        self.curves.save()
        save_settings(self._settings(), self.folder)
        write_weights(self.average.model(), self.folder / WEIGHTS, step=self.n_steps, stage=self.stage)
        self.model.train()

    def _settings(self) -> Config:
        """The settings with as many steps as were done."""
        options = self.options.model_copy(update={"steps": self.n_steps})
        return self.config.model_copy(update={f"stage{self.stage}": options})


def compile_parts(model: nn.Module) -> None:
    """Hand the blocks that repeat to torch.compile: what is compiled for the first serves for all."""
    torch._dynamo.config.recompile_limit = 64
    for module in model.modules():
        if isinstance(module, ResidualBlock | DepthwiseBlock | SelfAttention | Block):
            module.compile(dynamic=False)


def words(values: dict[str, float]) -> str:
    """Numbers with their names, for a line: counts whole, all else with four digits."""
    shown = {name: value if isinstance(value, int) else f"{value:.4g}" for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
