"""Train both stages for a given time, with data, batches, steps and schedule all on the device.

The loops in `training.stage1` and `training.stage2` are for any data, any machine, and to be resumed. These
are for the few minutes on a large GPU: images come from a `device_data.ImageSource`, steps are captured (see
`training.captured`), how many there are follows from the `seconds` given. A run's folder holds the same files
(but no state to go on from), so everything that reads a run reads these.

Models that ship come from these loops on one H100 (results/gpu).

The loss of stage 1 is L1, squared error, the quantiser's and the scorer's, without perceptual and adversarial
terms.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import Config, ConfigError, OptimiserConfig, Stage2Config
from mvqlab.config.recipes import settings_of
from mvqlab.data import Batch
from mvqlab.data.pixels import from_uint8
from mvqlab.models.backbone import ResidualBlock, SelfAttention
from mvqlab.models.caption_tokenizer import CaptionTokenizer
from mvqlab.models.masking import AdaptiveMask, n_kept
from mvqlab.models.mqvae import MQVAE, PlainVQ, TokenModel, build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.patch_backbone import DepthwiseBlock
from mvqlab.models.transformer import Block, weight_decay_groups
from mvqlab.training.captured import CapturedSteps, Means, RunningAverage, Schedule
from mvqlab.training.checkpoint import (
    check_finite_model,
    check_finite_tensors,
    load_weights,
    save_settings,
    write_weights,
)
from mvqlab.training.curves import Curves
from mvqlab.training.device_data import DrawnImages, ImageSource
from mvqlab.training.launch import seed_everything
from mvqlab.training.loop import Losses
from mvqlab.training.stage1_step import Judged, stage1_step
from mvqlab.training.stage2 import build_transformer
from mvqlab.training.stage2_step import named, stage2_step
from mvqlab.training.tokens import TokenSet, order_pairs
from mvqlab.training.updates import MixedUpdates
from mvqlab.training.warm_up import images_to_start_from, wait

Say = Callable[[str], None]
OnSave = Callable[[], object]
SHAPES = 8  # kept regions that a range of mask ratios is served at, evenly spaced; each is captured
CALIBRATION = 20  # steps that are timed to know how many fit
SAVE_EVERY = 30.0  # seconds
READ_EVERY = 2.0  # seconds between two waits for the device
AVERAGE_FROM = 0.1  # share of the run after which the average of weights begins anew


class Done(NamedTuple):
    """A model as it was kept, in evaluation mode, the steps that it took and its last held-out measures."""

    model: Any
    n_steps: int
    held_out: dict[str, float]


class _Run(ABC):
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
        write_weights(
            self.average.model(), self.folder / "weights.safetensors", step=self.n_steps, stage=self.stage
        )
        self.model.train()

    def _settings(self) -> Config:
        """The settings with as many steps as were done."""
        options = self.options.model_copy(update={"steps": self.n_steps})
        return self.config.model_copy(update={f"stage{self.stage}": options})


class _Stage1(_Run):
    model: MQVAE | PlainVQ
    stage = 1
    losses = ("loss", "l1", "quantizer")

    def __init__(
        self,
        config: Config,
        source: ImageSource,
        held_out: Tensor,
        folder: Path,
        device: torch.device,
        compile_blocks: bool,
        start: Path | None,
    ) -> None:
        """held_out (M, 3, H, W) uint8 on the device. start: weights to go on from."""
        seed_everything(config.seed)
        model = build_stage1(config)
        if start is not None:
            load_weights(model, start)
        # as the models of results/gpu were trained; channels first has not been tried on these small ones
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(model, config, config.stage1, folder, device, compile_blocks)
        self.source, self.held_out_images, self.is_begun = source, held_out, start is not None
        self.judged = Judged(model, config.loss)
        self.no_labels = torch.full((self.options.batch_size,), -1, device=device)
        self.noise_steps = torch.full((), float(config.mask.exploration_steps), device=device)

    def _build_optimiser(self) -> torch.optim.Optimizer:
        mask = self.config.mask
        if mask.budget != "fixed":
            raise ConfigError(
                f"steps on the device keep as many regions of every image of a batch, and mask.budget is "
                f"'{mask.budget}': set mask.budget=fixed"
            )
        if mask.scorer_rate != 1.0 or mask.ramp_steps:
            raise ConfigError(
                "steps on the device know no rate of the scorer's own and no ratio that rises: set "
                "mask.scorer_rate=1 and mask.ramp_steps=0"
            )
        loss = self.config.loss
        if loss.perceptual != "none" or loss.adversarial_weight:
            raise ConfigError(
                "steps on the device know no perceptual and no adversarial loss: set "
                "loss.perceptual=none and loss.adversarial_weight=0"
            )
        is_gpu = self.device.type == "cuda"
        return torch.optim.Adam(
            self.model.parameters(),
            lr=self.schedule.rate,
            betas=self.options.betas,
            weight_decay=self.options.weight_decay,
            fused=True,
            capturable=is_gpu,
        )

    def shapes(self) -> list[int]:
        """Kept regions N."""
        if not isinstance(self.model, MQVAE):
            return [self.model.n_positions]
        low, high = self.config.mask.ratio_range
        n = SHAPES if low < high else 1
        ratios = [low + (high - low) * step / max(1, n - 1) for step in range(n)]
        return sorted({n_kept(ratio, self.model.n_positions) for ratio in ratios})

    def prepare(self) -> None:
        """The steps before quantising begins; then the codebook starts from data. A model begun has both."""
        if self.is_begun:
            return
        shapes = self.shapes()
        wait(self.model)
        for n in range(self.config.quantizer.start_step):
            self.step(shapes[n % len(shapes)])
            self.n_steps += 1
        wait(self.model, False)
        middle = shapes[len(shapes) // 2]
        self._keep(middle)
        self.model.initialise_codebook(self._draw(images_to_start_from(self.model, middle)))

    def _keep(self, n: int) -> None:
        if isinstance(self.model, MQVAE):
            self.model.mask.n_in_training = (n, n)

    def plan(self, total: int) -> None:
        """Take note that there will be `total` steps: a recipe has noise fade over so many of them."""
        super().plan(total)
        mask = self.config.mask
        noisy = settings_of(mask.recipe, total).get("mask.exploration_steps", mask.exploration_steps)
        self.noise_steps.fill_(float(noisy))
        mask = mask.model_copy(update={"exploration_steps": noisy})
        self.config = self.config.model_copy(update={"mask": mask})

    def _fade(self) -> None:
        """What is left of the noise on learned scores, as in `warm_up.set_mask`, by the device's count."""
        has_noise = self.config.mask.exploration_steps > 0
        if has_noise and isinstance(self.model, MQVAE) and isinstance(self.model.mask, AdaptiveMask):
            done = self.schedule.step - 1.0  # this one is counted already
            self.model.mask.fading = (1.0 - done / self.noise_steps).clamp(min=0.0)  # ()

    def _draw(self, n: int) -> Tensor:
        return self.source.draw(n).images.contiguous(memory_format=torch.channels_last)

    def update(self, shape: int) -> Losses:
        self._keep(shape)
        self._fade()
        batch = Batch(self._draw(self.options.batch_size), self.no_labels, [])
        return stage1_step(self.judged, self.optimiser, batch, self.config, updates=self.updates)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR in dB, the mean over held-out images, at the ratio in use and, for ranges, at 50 and 75 %."""
        model: MQVAE | PlainVQ = self.average.model()
        ratios: list[float | None] = [None]
        if isinstance(model, MQVAE) and len(self.shapes()) > 1:
            ratios = [0.5, 0.75]
        return {
            "psnr" if ratio is None else f"psnr_{round(100 * ratio)}": psnr_of(
                model, self.held_out_images, ratio
            )
            for ratio in ratios
        }


class _Stage2(_Run):
    model: PairModel
    options: Stage2Config
    stage = 2
    losses = ("loss", "code_loss", "position_loss")

    def __init__(
        self,
        config: Config,
        stage1: TokenModel,
        source: ImageSource,
        held_out: DrawnImages,
        n_classes: int,
        tokenizer: CaptionTokenizer | None,
        folder: Path,
        device: torch.device,
        compile_blocks: bool,
    ) -> None:
        seed_everything(config.seed)
        self.stage1, self.tokenizer = stage1.to(device).eval(), tokenizer
        model = build_transformer(config, stage1, n_classes).to(device)
        super().__init__(model, config, config.stage2, folder, device, compile_blocks)
        self.source, self.held_out_images = source, held_out
        self.no_conditions = torch.full((self.options.batch_size,), -1, device=device)
        self.no_positions = {"position_loss": torch.zeros((), device=device)}  # of the raster transformer

    def _build_optimiser(self) -> torch.optim.Optimizer:
        if self.options.optimiser != "adamw":  # torch's Muon reads its rate on the host, which no graph can
            raise ConfigError("steps on the device know no optimiser but AdamW: set stage2.optimiser=adamw")
        if self.options.half is not None:  # images are drawn without end, there are no halves of them
            raise ConfigError("steps on the device learn from all images: leave stage2.half out")
        groups = weight_decay_groups(self.model, self.options.weight_decay)
        for group in groups:
            group["lr"] = self.schedule.rate
        is_gpu = self.device.type == "cuda"
        return torch.optim.AdamW(
            groups, lr=self.schedule.rate, betas=self.options.betas, fused=True, capturable=is_gpu
        )

    def shapes(self) -> list[int]:
        """One: all sequences are as long."""
        return [self.stage1.n_kept]

    def prepare(self) -> None:
        """Nothing: the codes are there."""

    def update(self, shape: int) -> Losses:
        drawn = self.source.draw(self.options.batch_size)
        conditions = self.no_conditions if drawn.conditions is None else drawn.conditions
        batch = TokenSet(self._pairs_of(drawn.images), conditions)
        losses = stage2_step(self.model, self.optimiser, batch, self.config, self.updates)
        return self.no_positions | losses

    @torch.no_grad()
    def _pairs_of(self, images: Tensor) -> Pairs:
        return order_pairs(self.stage1.encode(images), self.config.transformer.order)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean held-out losses, in nats a pair."""
        model: PairModel = self.average.model()
        images, conditions = self.held_out_images
        if self.config.transformer.condition == "none":
            conditions = None
        sums = dict.fromkeys(self.losses, 0.0)
        for first in range(0, len(images), 256):
            rows = slice(first, first + 256)
            of_rows = None if conditions is None else conditions[rows]
            losses = named(model.loss(self._pairs_of(as_floats(images[rows])), of_rows))
            for name, value in losses.items():
                sums[name] += float(value) * len(images[rows]) / len(images)
        return sums

    def save(self, seconds: float) -> None:
        super().save(seconds)
        if self.tokenizer is not None:
            self.tokenizer.save(self.folder)


def train_stage1_on_device(
    config: Config,
    source: ImageSource,
    held_out: Tensor,
    folder: Path,
    seconds: float,
    *,
    within: float | None = None,
    n_steps: int | None = None,
    start: Path | None = None,
    compile_blocks: bool = False,
    say: Say = print,
    on_save: OnSave = lambda: None,
) -> Done:
    """Train the stage 1 that `config` describes for `seconds`; what is kept is the average of its weights.

    source: on the device that is to train. held_out (M, 3, H, W) uint8, there too. `folder` receives
    config.yaml (with the steps done), weights.safetensors and curves.csv. seconds: after the preparation,
    to which the steps before quantising belong. within: in all, the preparation included; None: without a
    limit. n_steps: as many are done instead, however long they take. start: weights (of the same model) to
    go on from, with a schedule of their own. compile_blocks: the residual and attention blocks go through
    torch.compile first. say: told how it goes. on_save: called after every save. Raises FloatingPointError.
    """
    run = _Stage1(config, source, held_out, folder, held_out.device, compile_blocks, start)
    run.train(seconds, within, n_steps, say, on_save)
    return Done(run.average.model(), run.n_steps, run.held_out)


def train_stage2_on_device(
    config: Config,
    stage1: TokenModel,
    source: ImageSource,
    held_out: DrawnImages,
    folder: Path,
    seconds: float,
    *,
    within: float | None = None,
    n_steps: int | None = None,
    n_classes: int = 0,
    tokenizer: CaptionTokenizer | None = None,
    compile_blocks: bool = False,
    say: Say = print,
    on_save: OnSave = lambda: None,
) -> Done:
    """Train the transformer that `config` describes for `seconds`; images are encoded as they are drawn.

    held_out: images (M, 3, H, W) uint8 and their conditions. Else as `train_stage1_on_device`.
    """
    check_finite_model(stage1, "the stage 1 that was given")
    device = held_out.images.device
    run = _Stage2(config, stage1, source, held_out, n_classes, tokenizer, folder, device, compile_blocks)
    run.train(seconds, within, n_steps, say, on_save)
    return Done(run.average.model(), run.n_steps, run.held_out)


def compile_parts(model: nn.Module) -> None:
    """Hand the blocks that repeat to torch.compile: what is compiled for the first serves for all."""
    torch._dynamo.config.recompile_limit = 64
    for module in model.modules():
        if isinstance(module, ResidualBlock | DepthwiseBlock | SelfAttention | Block):
            module.compile(dynamic=False)


def as_floats(pixels: Tensor) -> Tensor:
    """Pixels (B, C, H, W) uint8 as images (B, 3, H, W) in [-1, 1]."""
    return from_uint8(pixels).expand(-1, 3, -1, -1)


@torch.no_grad()
def psnr_of(model: TokenModel, pixels: Tensor, mask_ratio: float | None = None) -> float:
    """Mean PSNR in dB over images (M, 3, H, W) uint8, reconstructed with `mask_ratio` dropped."""
    sums = 0.0
    mask = model.mask if isinstance(model, MQVAE) else None
    was = None if mask is None else mask.n
    if mask is not None and mask_ratio is not None:
        mask.n = n_kept(mask_ratio, model.n_positions)
    try:
        for part in pixels.split(256):
            images = as_floats(part)
            made = model.decode(model.encode(images).pairs).clamp(-1.0, 1.0)
            errors = F.mse_loss(made, images, reduction="none").flatten(1).mean(dim=1) / 4.0
            sums += float((-10.0 * errors.clamp(min=1e-10).log10()).sum())
    finally:
        if mask is not None and was is not None:
            mask.n = was
    return sums / len(pixels)


def words(values: dict[str, float]) -> str:
    """Numbers with their names, for a line: counts whole, all else with four digits."""
    shown = {name: value if isinstance(value, int) else f"{value:.4g}" for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
