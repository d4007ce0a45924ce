"""Train stage 1: MQ-VAE or the plain VQ model.

What a step is, and its loss: `training.stage1_step`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from mvqlab.config import Config, ConfigError, OptimiserConfig
from mvqlab.config.own_arms import OF_STAGE1, versions_in_use
from mvqlab.data import Batch, Splits, batches, batches_in_order, build_splits
from mvqlab.data.dataset import joined
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import TokenModel, build_stage1, quickest_layout
from mvqlab.training.checkpoint import WEIGHTS, hold_run
from mvqlab.training.launch import check_machine, make_fabric, seed_everything
from mvqlab.training.loop import Losses, OnModel, OnStep
from mvqlab.training.losses import Judges, PerceptualLoss, adversarial_ramp, generator_loss
from mvqlab.training.origin import origin_of, warn_of_changed_arms
from mvqlab.training.run import CountedBatch, HasState, Run
from mvqlab.training.run_settings import load_settings
from mvqlab.training.schedule import RATE_SCALE
from mvqlab.training.stage1_step import Adversary, Judged, stage1_step
from mvqlab.training.warm_up import bypass_or_start_quantizer, set_mask
from mvqlab.training.weights import load_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger

SCORERS_OF_MASKS = ("mask.scorer.", "mask.gain.")  # what parameters of f_s are called in a model


def train_stage1(
    config: Config,
    folder: Path | str,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    on_step: OnStep | None = None,
    on_model: OnModel | None = None,
    loggers: Sequence[Logger] = (),
    splits: Splits | None = None,
) -> TokenModel:
    """Train the stage-1 model that `config` describes; returns it in evaluation mode.

    `folder` receives settings, weights, training state and curves (see `training.checkpoint`). With
    `resume` the run in it goes on where its state was last written, which is refused where the data are no
    longer what they were, unless `allow_changes`. `on_step(step, values)` is called
    whenever losses are logged, and `on_model(step, model)` with the model as it would be kept then, in
    evaluation mode; what these raise ends the training. `loggers`, Fabric's, hear every row of the curves
    (see `training.loggers`). Several processes (`torchrun`) each train on their
    share of every batch.

    Warns (ScheduleWarning) where another number of steps than the run began with changes the learning rate.

    Raises CheckpointError if there is nothing to resume, ConfigError if this machine cannot train the stage 1
    or the stage 2 that `config` describes, FloatingPointError if the loss stops being finite, HeldError if
    another process is training in `folder`. Warns (CodebookWarning) where quantising would begin after the
    last step.
    """
    folder = Path(folder)
    check_machine(config)
    check_codebook_starts(config)
    fabric = make_fabric(config.stage1.precision)
    check_processes(config, fabric.world_size)
    with hold_run(folder, is_writer=fabric.is_global_zero):
        seed_everything(config.seed)
        splits = splits or build_splits(config.data)
        run = Stage1Run(config, folder, fabric, splits)
        return run.carry_out(
            resume=resume, allow_changes=allow_changes, on_step=on_step, on_model=on_model, loggers=loggers
        )


def load_stage1(folder: Path | str) -> TokenModel:
    """The trained stage-1 model in `folder`, in evaluation mode. Raises CheckpointError.

    Warns (ChangedArmWarning) where an arm of one's own is not what it was.
    """
    folder = Path(folder)
    config = load_settings(folder)
    warn_of_changed_arms(folder, config, OF_STAGE1)
    model = build_stage1(config)
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def adam(model: nn.Module, options: OptimiserConfig, scorer_rate: float = 1.0) -> torch.optim.Adam:
    """Stage 1's optimiser. Its fused form cannot unscale fp16 gradients for clipping, so not there.

    scorer_rate: the rate of f_s, as a multiple of the others'. Weights are decayed as Adam has it, by a part
    of the gradient: unlike stage 2's AdamW, and all of them.
    """
    is_fused = options.precision != "16-mixed"
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if scorer_rate != 1.0:
        of_scorer = {name for name, _ in model.named_parameters() if name.startswith(SCORERS_OF_MASKS)}
        named = dict(model.named_parameters())
        groups = [
            {"params": [named[name] for name in named if name not in of_scorer]},
            {"params": [named[name] for name in named if name in of_scorer], RATE_SCALE: scorer_rate},
        ]
    return torch.optim.Adam(
        groups,
        lr=options.learning_rate,
        betas=options.betas,
        weight_decay=options.weight_decay,
        fused=is_fused,
    )


Model = TypeVar("Model", bound=nn.Module)


def _on(fabric: Fabric, model: Model) -> Model:
    layout = quickest_layout(fabric.device)
    return model.to(fabric.device, memory_format=layout)  # type: ignore[call-overload]


def check_processes(config: Config, n_processes: int) -> None:
    """Refuse (ConfigError) what `n_processes` that train together cannot learn as one does."""
    if config.quantizer.kind == "lfq" and n_processes > 1:
        raise ConfigError(
            f"quantizer.kind 'lfq' trains in one process, not in {n_processes}: its entropy is of a whole "
            "batch, which its package does not gather. Take quantizer.kind=fsq, or start one process"
        )


class CodebookWarning(UserWarning):
    """Training ends before it quantises anything. The message says what to set."""


def check_codebook_starts(config: Config) -> None:
    """Warn (CodebookWarning) the caller's caller where quantising would begin after the last step."""
    start, steps = config.quantizer.start_step, config.stage1.steps
    if start >= steps:
        warnings.warn(
            f"quantising begins at step quantizer.start_step={start}, but training ends after "
            f"stage1.steps={steps}: the codebook stays random, and so will images from it. Set an earlier "
            "start or more steps",
            CodebookWarning,
            stacklevel=3,
        )


class Stage1Run(Run[TokenModel, Batch]):
    """A training run of stage 1: the model and its judges, of which the discriminator learns with it."""

    stage = 1

    def __init__(self, config: Config, folder: Path, fabric: Fabric, splits: Splits) -> None:
        options = config.stage1
        origin = origin_of(splits, arms=versions_in_use(config, OF_STAGE1))
        super().__init__(config, options, _on(fabric, build_stage1(config)), folder, fabric, origin)
        self.splits = splits
        self.bare_discriminator = _on(fabric, PatchDiscriminator(config.discriminator))
        self.is_adversarial = config.loss.adversarial_weight > 0.0
        perceptual = None
        if config.loss.perceptual != "none":
            perceptual = PerceptualLoss(config.loss.perceptual).to(fabric.device)
        self.judges = Judges(perceptual, self.bare_discriminator if self.is_adversarial else None)
        self.judged, self.optimiser = fabric.setup(
            Judged(self.bare, config.loss, self.judges),
            adam(self.bare, options, config.mask.scorer_rate),
        )
        self.discriminator, self.discriminator_optimiser = fabric.setup(
            self.bare_discriminator, adam(self.bare_discriminator, options)
        )

    def parts(self) -> dict[str, HasState]:
        return {
            "discriminator": self.bare_discriminator,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def optimisers(self) -> list[Optimizer]:
        return [self.optimiser, self.discriminator_optimiser]

    def stream(self, step: int) -> Iterator[Batch]:
        return batches(
            self.splits.train,
            self.options.batch_size,
            seed=self.config.seed,
            start=step * self.options.accumulate,
            workers=self.config.data.workers,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )

    def prepare(self, step: int) -> None:
        """Start the codebook from the images to come, at the step at which quantising begins."""

        def draw(n_images: int) -> Batch:
            stream, n_batches = self.stream(step), -(-n_images // self.options.batch_size)
            return joined([next(stream) for _ in range(n_batches)]).to(self.fabric.device)

        set_mask(self.bare, step, self.config.mask)
        bypass_or_start_quantizer(self.bare, step, self.config.quantizer.start_step, draw)

    def batches_of_a_step(self, stream: Iterator[Batch]) -> Iterator[CountedBatch[Batch]]:
        n_batches = self.options.accumulate
        for _ in range(n_batches):
            yield CountedBatch(next(stream).to(self.fabric.device), n_batches, n_batches)

    def update(self, step: int, part: CountedBatch[Batch], is_last: bool) -> Losses:
        """Of the model, and of the discriminator once it has entered."""
        loss = self.config.loss
        ramp = adversarial_ramp(step, loss.adversarial_start, loss.adversarial_ramp)
        adversary = None
        if self.is_adversarial and ramp > 0.0:
            adversary = Adversary(self.discriminator, self.discriminator_optimiser, ramp)
        with self.updates.of_batch(part.in_gradients, is_last, self.judged, self.discriminator):
            return stage1_step(self.judged, self.optimiser, part.batch, self.config, adversary, self.updates)

    @torch.no_grad()
    def validate(self) -> Losses:
        """Losses without the adversarial one over the held-out images, the codebook left alone."""
        model = self.average.model.eval()
        generator = torch.Generator().manual_seed(self.config.seed)
        evaluation = self.config.evaluation
        reconstruction = self.config.loss.model_copy(update={"scorer_weight": 0.0})
        sums: Losses = {}
        n_images = n_features = 0
        for batch in batches_in_order(self.splits.validation, evaluation.batch_size, evaluation.images):
            batch = batch.to(self.fabric.device)
            with self.fabric.autocast():
                made = model(batch.images, batch.importance, generator)
                terms = generator_loss(
                    reconstruction, self.judges, made, batch.images, model.decoder.last_layer, 0.0
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
