"""Train stage 1: MQ-VAE or the plain VQ model.

    loss = L1 + LPIPS + w * ramp * hinge GAN + quantiser            (METHOD: stage 1, loss)

One forward pass a step serves the generator's and the discriminator's update alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mvqlab.config import Config, LossConfig, OptimiserConfig
from mvqlab.data import Batch, Splits, batches, batches_in_order, build_splits
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import Reconstruction, TokenModel, build_stage1, quickest_layout
from mvqlab.training.average import WeightAverage
from mvqlab.training.checkpoint import (
    WEIGHTS,
    check_finite_tensors,
    check_same_run,
    hold_run,
    holds_weights_of,
    load_settings,
    load_state,
    load_weights,
    random_state,
    save_settings,
    save_state,
    save_weights,
    set_random_state,
    settings_of_state,
    taken_from,
)
from mvqlab.training.curves import Curves
from mvqlab.training.launch import make_fabric, seed_everything, seed_noise
from mvqlab.training.loop import Losses, OnModel, OnStep, run_steps, with_model
from mvqlab.training.losses import (
    Judges,
    PerceptualLoss,
    Stage1Loss,
    adversarial_ramp,
    generator_loss,
    hinge_discriminator_loss,
)
from mvqlab.training.origin import check_same_origin, origin_of, read_origin, save_origin
from mvqlab.training.schedule import learning_rate, set_learning_rate, tell_of_other_schedule

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_stage1(
    config: Config,
    folder: Path | str,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    on_step: OnStep | None = None,
    on_model: OnModel | None = None,
    splits: Splits | None = None,
) -> TokenModel:
    """Train the stage-1 model that `config` describes; returns it in evaluation mode.

    `folder` receives settings, weights, training state and curves (see `training.checkpoint`). With
    `resume` the run in it goes on where its state was last written, which is refused where the data are no
    longer what they were, unless `allow_changes`. `on_step(step, values)` is called
    whenever losses are logged, and `on_model(step, model)` with the model as it would be kept then, in
    evaluation mode; what these raise ends the training. Several processes (`torchrun`) each train on their
    share of every batch.

    Warns (ScheduleWarning) where another number of steps than the run began with changes the learning rate.

    Raises CheckpointError if there is nothing to resume, FloatingPointError if the loss stops being
    finite, HeldError if another process is training in `folder`. Warns (CodebookWarning) where quantising
    would begin after the last step.
    """
    folder = Path(folder)
    _check_codebook_starts(config)
    fabric = make_fabric(config.stage1.precision)
    with hold_run(folder, is_writer=fabric.is_global_zero):
        seed_everything(config.seed)
        splits = splits or build_splits(config.data)
        run = _Run(config, folder, fabric, splits)
        if resume:
            run.load(allow_changes=allow_changes)
        else:
            run.start()
        run.train(with_model(on_step, on_model, run.average.model, run.bare))
    return run.average.model.eval()


def load_stage1(folder: Path | str) -> TokenModel:
    """The trained stage-1 model in `folder`, in evaluation mode. Raises CheckpointError."""
    folder = Path(folder)
    model = build_stage1(load_settings(folder))
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def adam(model: nn.Module, options: OptimiserConfig) -> torch.optim.Adam:
    """Stage 1's optimiser. Its fused form cannot unscale fp16 gradients for clipping, so not there."""
    return torch.optim.Adam(
        model.parameters(),
        lr=options.learning_rate,
        betas=options.betas,
        fused=options.precision != "16-mixed",
    )


def _on(fabric: Fabric, model: nn.Module) -> nn.Module:
    return model.to(fabric.device, memory_format=quickest_layout(fabric.device))


class CodebookWarning(UserWarning):
    """Training ends before it quantises anything. The message says what to set."""


def _check_codebook_starts(config: Config) -> None:
    start, steps = config.quantizer.start_step, config.stage1.steps
    if start >= steps:
        warnings.warn(
            f"quantising begins at step quantizer.start_step={start}, but training ends after "
            f"stage1.steps={steps}: the codebook stays random, and so will images from it. Set an earlier "
            "start or more steps",
            CodebookWarning,
            stacklevel=3,
        )


class _Judged(nn.Module):
    """A model with its loss.

    Fabric's wrapper must hold both: it forbids what the adversarial weight needs, gradients of single
    losses, to pass out of the module that it wraps. The judges are no part of the module tree.
    """

    def __init__(self, model: TokenModel, judges: Judges, config: LossConfig) -> None:
        super().__init__()
        self.model, self.judges, self.config = model, judges, config

    def forward(
        self, images: Tensor, importance: Tensor | None, ramp: float
    ) -> tuple[Reconstruction, Stage1Loss]:
        """Reconstruct `images` (B, 3, H, W); see `generator_loss` for `ramp`."""
        made = self.model(images, importance)
        last_layer = self.model.decoder.last_layer
        return made, generator_loss(self.config, self.judges, made, images, last_layer, ramp)


class _Run:
    """The state of one training run: models, optimisers, step and curves."""

    def __init__(self, config: Config, folder: Path, fabric: Fabric, splits: Splits) -> None:
        self.config, self.folder, self.fabric, self.splits = config, folder, fabric, splits
        self.origin = origin_of(splits)
        options = config.stage1
        self.step = 0
        self.replaces_earlier = False
        self.bare = _on(fabric, build_stage1(config))
        self.average = WeightAverage(self.bare, options.weight_average)
        if options.compile:
            self.bare.compile()
        self.bare_discriminator = _on(fabric, PatchDiscriminator(config.discriminator))
        self.is_adversarial = config.loss.adversarial_weight > 0.0
        perceptual = None
        if config.loss.perceptual != "none":
            perceptual = PerceptualLoss(config.loss.perceptual).to(fabric.device)
        self.judges = Judges(perceptual, self.bare_discriminator if self.is_adversarial else None)
        self.judged, self.optimiser = fabric.setup(
            _Judged(self.bare, self.judges, config.loss), adam(self.bare, options)
        )
        self.discriminator, self.discriminator_optimiser = fabric.setup(
            self.bare_discriminator, adam(self.bare_discriminator, options)
        )

    def start(self) -> None:
        """Begin afresh. An earlier run in the folder stays as it is until this one is first saved."""
        self.replaces_earlier = True
        seed_noise(self.config.seed, self.fabric.global_rank)
        self.curves = Curves(self.folder, tensorboard=self.config.stage1.tensorboard)

    def load(self, *, allow_changes: bool = False) -> None:
        """Go on from the state in the folder."""
        path = self.folder / "state.pt"
        state = load_state(path, 1, self.config.stage1.steps)
        before = settings_of_state(state, self.folder)
        check_same_run(self.config, self.folder, "stage1", before)
        with taken_from(path):
            was_on = read_origin(state.get("trained_on"))
            check_same_origin(was_on, self.origin, self.folder, allow_changes=allow_changes)
            self.step = state["step"]
            self.bare.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.bare_discriminator.load_state_dict(state["discriminator"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
            seed_noise(self.config.seed, self.fabric.global_rank, self.step)
            set_random_state(state["random"], self.fabric.global_rank)
        if before is not None:
            tell_of_other_schedule(before.stage1, self.config.stage1, self.step)
        self.curves = Curves(self.folder, self.step, self.config.stage1.tensorboard)
        if not holds_weights_of(self.folder / WEIGHTS, self.average.model):
            self._save_weights()  # lost, damaged, or the run was killed before it wrote them

    def save(self, step: int) -> None:
        """Write curves, state and, last, weights after `step` steps: a run goes on from what a kill left.

        Raises FloatingPointError, before anything is written, if a tensor is not finite.
        """
        state = {
            "stage": 1,
            "settings": self.config.model_dump(mode="json"),
            "trained_on": self.origin.record(),
            "step": step,
            "model": self.bare.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.bare_discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "random": random_state(),
        }
        check_finite_tensors(state, f"stage 1 after step {step}")
        if not self.fabric.is_global_zero:
            return
        self.step = step
        self.curves.save()
        save_state(state, self.folder / "state.pt", keeps_previous=not self.replaces_earlier)
        if self.replaces_earlier:
            (self.folder / WEIGHTS).unlink(missing_ok=True)  # or a kill would leave them beside another state
            self.replaces_earlier = False
        save_settings(self.config, self.folder)
        save_origin(self.origin, self.folder)
        self._save_weights()

    def _save_weights(self) -> None:
        if self.fabric.is_global_zero:
            save_weights(self.average.model, self.folder / WEIGHTS, step=self.step, stage=1)

    def train(self, on_step: OnStep | None) -> None:
        """From the current step to the last."""
        stream = self._batches(self.step)
        self.bare.train()
        run_steps(
            "stage 1",
            self.config.stage1,
            self.step,
            take_step=lambda step: self._take_step(step, stream),
            validate=self._validate,
            save=self.save,
            curves=self.curves,
            folder=self.folder,
            on_step=on_step,
        )

    def _batches(self, step: int) -> Iterator[Batch]:
        """This process's batches from `step` on."""
        options = self.config.stage1
        return batches(
            self.splits.train,
            options.batch_size,
            seed=self.config.seed,
            start=step * options.accumulate,
            workers=self.config.data.workers,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )

    def _take_step(self, step: int, stream: Iterator[Batch]) -> Losses:
        """One update of the model, and of the discriminator once it has entered."""
        options, loss = self.config.stage1, self.config.loss
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            set_learning_rate(optimiser, learning_rate(step, options))
        self._start_codebook(step)
        ramp = adversarial_ramp(step, loss.adversarial_start, loss.adversarial_ramp)
        terms: Losses = {}
        for micro in range(options.accumulate):
            batch = next(stream).to(self.fabric.device)
            of_batch = self._backward(batch, ramp, is_last=micro == options.accumulate - 1)
            for name, value in of_batch.items():
                terms[name] = terms.get(name, 0.0) + value / options.accumulate
        self._update(self.judged, self.optimiser)
        self.average.update()
        if self.is_adversarial and ramp > 0.0:
            self._update(self.discriminator, self.discriminator_optimiser)
        return terms

    def _start_codebook(self, step: int) -> None:
        """Fill the codebook from data at the step at which quantising begins."""
        start = self.config.quantizer.start_step
        self.bare.quantizer.is_warming_up = step < start
        if step != start:
            return
        n_images = -(-2 * self.bare.codebook_size // self.bare.n_kept)  # two features a code, or more
        stream = self._batches(step)
        drawn = [next(stream) for _ in range(-(-n_images // self.config.stage1.batch_size))]
        images = torch.cat([batch.images for batch in drawn]).to(self.fabric.device)
        importance = None
        if all(batch.importance is not None for batch in drawn):
            importance = torch.cat([batch.importance for batch in drawn]).to(self.fabric.device)
        self.bare.initialise_codebook(images, importance)

    def _backward(self, batch: Batch, ramp: float, is_last: bool) -> Losses:
        share = 1.0 / self.config.stage1.accumulate
        with self.fabric.no_backward_sync(self.judged, enabled=not is_last):
            self.bare_discriminator.requires_grad_(False)
            made, terms = self.judged(batch.images, batch.importance, ramp)
            self.bare_discriminator.requires_grad_(True)
            self.fabric.backward(share * terms.total)
        logged = {"loss": terms.total, **terms._asdict()}
        logged.pop("total")
        if self.is_adversarial and ramp > 0.0:
            with self.fabric.no_backward_sync(self.discriminator, enabled=not is_last):
                verdict = hinge_discriminator_loss(
                    self.discriminator(batch.images), self.discriminator(made.images.detach())
                )
                self.fabric.backward(share * verdict)
            logged["discriminator"] = verdict
        return {name: value.detach() for name, value in logged.items()}

    def _update(self, model: Any, optimiser: Any) -> None:
        clip = self.config.stage1.gradient_clip
        if clip > 0.0:
            self.fabric.clip_gradients(model, optimiser, max_norm=clip, error_if_nonfinite=False)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _validate(self) -> Losses:
        """Losses without the adversarial one over the held-out images, the codebook left alone."""
        model = self.average.model.eval()
        generator = torch.Generator().manual_seed(self.config.seed)
        evaluation = self.config.evaluation
        sums: Losses = {}
        n_images = n_features = 0
        for batch in batches_in_order(self.splits.validation, evaluation.batch_size, evaluation.images):
            batch = batch.to(self.fabric.device)
            with self.fabric.autocast():
                made = model(batch.images, batch.importance, generator)
                terms = generator_loss(
                    self.config.loss, self.judges, made, batch.images, model.decoder.last_layer, 0.0
                )
            # the quantiser's is a mean over features, of which batches may have more and fewer an image
            of_batch = made.pairs.lengths.sum()
            of_images = terms.total - terms.quantizer, terms.l1, terms.perceptual
            for name, value in zip(("loss", "l1", "perceptual"), of_images, strict=True):
                sums[name] = sums.get(name, 0.0) + value * len(batch.images)
            sums["quantizer"] = sums.get("quantizer", 0.0) + terms.quantizer * of_batch
            n_images += len(batch.images)
            n_features += of_batch
        self.bare.train()
        quantizer = sums.pop("quantizer") / n_features
        means = {name: value / n_images for name, value in sums.items()}
        return means | {"loss": means["loss"] + quantizer}
