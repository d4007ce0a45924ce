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

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.config import Config, ConfigError, Stage2Config
from mvqlab.config.recipes import settings_of
from mvqlab.data import Batch
from mvqlab.data.pixels import from_uint8
from mvqlab.models.caption_tokenizer import CaptionTokenizer
from mvqlab.models.masking import AdaptiveMask, n_kept
from mvqlab.models.mqvae import MQVAE, PlainVQ, TokenModel, build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformer import weight_decay_groups
from mvqlab.training.device_data import DrawnImages, ImageSource
from mvqlab.training.device_run import DeviceRun, Done, OnSave, Say
from mvqlab.training.launch import seed_everything
from mvqlab.training.loop import Losses
from mvqlab.training.stage1_step import Judged, stage1_step
from mvqlab.training.stage2 import build_transformer
from mvqlab.training.stage2_step import named, stage2_step
from mvqlab.training.tokens import TokenSet, order_pairs
from mvqlab.training.warm_up import bypass_quantizer, images_to_start_from
from mvqlab.training.weights import check_finite_model, load_weights

SHAPES = 8  # kept regions that a range of mask ratios is served at, evenly spaced; each is captured


class _Stage1(DeviceRun):
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
                "training on the device keeps the same number of regions of every image of a batch, but "
                f"mask.budget is '{mask.budget}': set mask.budget=fixed"
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
        bypass_quantizer(self.model)
        for n in range(self.config.quantizer.start_step):
            self.step(shapes[n % len(shapes)])
            self.n_steps += 1
        bypass_quantizer(self.model, False)
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
        """Mean PSNR of held-out images, dB: `psnr`, or for a range of ratios `psnr_50` and `psnr_75`."""
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


class _Stage2(DeviceRun):
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
