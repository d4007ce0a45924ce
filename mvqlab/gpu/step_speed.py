"""Training steps at the published size: ours beside the plain transcription, and stage 1 module by module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mvqlab.config import Config, load_config
from mvqlab.gpu.clock import peak_mib, seconds_of
from mvqlab.gpu.parts import Report, release_memory
from mvqlab.gpu.toys import autocast, batch_of, tokens_of
from mvqlab.gpu.transcription import transcribe
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import build_stage1, quickest_layout
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.training.loop import Losses
from mvqlab.training.losses import Judges
from mvqlab.training.optimiser import build_optimiser
from mvqlab.training.stage1 import adam
from mvqlab.training.stage1_step import Adversary, Judged, discriminator_step, stage1_step
from mvqlab.training.stage2_step import stage2_step
from mvqlab.training.updates import MixedUpdates

GOAL = 2.0  # times faster than the transcription, a stage-1 step
N_IMAGES = 8
TOY = {
    "data.resolution": 32,
    "backbone.base_channels": 8,
    "backbone.feature_dim": 32,
    "backbone.attention_resolutions": [4],
    "quantizer.code_dim": 32,
    "demask.layers": 2,
    "discriminator.layers": 2,
    "discriminator.base_channels": 8,
    "transformer.code_layers": 1,
    "transformer.position_layers": 1,
    "transformer.width": 32,
    "transformer.heads": 2,
}


def published(toy: bool) -> Config:
    """`ffhq256` without LPIPS, whose trained network is not on every machine; or the same in little."""
    return load_config("ffhq256", {"loss.perceptual": "none", **(TOY if toy else {})})


class Stage1Step:
    """One update of model and discriminator. `is_plain`: the transcription, with its two forward passes."""

    def __init__(
        self,
        config: Config,
        device: torch.device,
        precision: str,
        is_plain: bool,
        layout: torch.memory_format | None = None,
    ) -> None:
        """layout: of the weights; by default the plain way's own, and ours as training has it."""
        self.config, self.device, self.precision, self.is_plain = config, device, precision, is_plain
        torch.manual_seed(0)
        with torch.device(device):
            model, discriminator = build_stage1(config), PatchDiscriminator(config.discriminator)
            images = torch.rand(N_IMAGES, 3, config.data.resolution, config.data.resolution) * 2 - 1
        form = layout or (torch.contiguous_format if is_plain else quickest_layout(device))
        model = transcribe(model) if is_plain else model
        self.model = model.train().to(memory_format=form)  # type: ignore[call-overload]
        discriminator = discriminator.to(memory_format=form)  # type: ignore[call-overload]
        self.batch = batch_of(images)
        self.judged = Judged(self.model, config.loss, Judges(None, discriminator))
        self.optimiser = adam(self.model, config.stage1)
        self.adversary = Adversary(discriminator, adam(discriminator, config.stage1), ramp=1.0)
        self.updates = MixedUpdates(device, is_mixed=precision == "bf16")
        self.last = torch.zeros((), device=device)

    def __call__(self) -> None:
        losses = self._plain_step() if self.is_plain else self._step()
        self.last = losses["loss"]

    def _step(self) -> Losses:
        parts = self.judged, self.optimiser, self.batch, self.config
        return stage1_step(*parts, self.adversary, self.updates)

    def _plain_step(self) -> Losses:
        """The released way: the model's update, then a second forward pass for the discriminator's."""
        images, clip = self.batch.images, self.config.stage1.gradient_clip
        with self.updates.autocast():
            _, loss = self.judged(images, None, self.adversary.ramp)
        self.updates.backward(loss.total)
        self.updates.update(self.judged, self.optimiser, clip)
        with self.updates.autocast():
            made = self.model(images)
        discriminator_step(self.adversary, images, made.images, self.config, self.updates)
        return {"loss": loss.total.detach()}


def stage1_steps(report: Report, device: torch.device, toy: bool, precision: str) -> None:
    """A stage-1 step: the transcription, ours, and ours in the other layout of images."""
    config = published(toy)
    work = f"stage-1 step, {precision}, {N_IMAGES} images"
    other, name = torch.channels_last, "channels last"
    if quickest_layout(device) == other:
        other, name = torch.contiguous_format, "channels first"
    ways: dict[str, dict[str, Any]] = {
        "plain transcription": {"is_plain": True},
        "ours": {"is_plain": False},
        f"ours, {name}": {"is_plain": False, "layout": other},
    }
    seconds: dict[str, float] = {}
    for way, options in ways.items():
        try:
            step = Stage1Step(config, device, precision, **options)
            _timed(report, f"{work}: {way}", step, device, seconds, GOAL)
            del step
        except Exception as error:
            report.failed(f"{work}: {way}", error)
        release_memory()


def _timed(
    report: Report,
    name: str,
    step: Callable[[], object],
    device: torch.device,
    seconds: dict[str, float],
    goal: float | None = None,
) -> None:
    """A row for `step`, beside the first of `seconds`, which it joins."""
    took = seconds_of(step, device, repeats=4, warmup=2)
    peak = peak_mib(step, device)
    notes = [] if peak is None else [f"{peak:.0f} MiB at most"]
    if seconds:
        reference, of_reference = next(iter(seconds.items()))
        faster = of_reference / took
        notes.append(f"{faster:.2f} times as fast as {reference.rpartition(': ')[2]}")
        if goal is not None:
            notes.append(f"goal {goal:g} {'met' if faster >= goal else 'not met'}")
    seconds[name] = took
    report.add(name, value=1e3 * took, unit="ms", note="; ".join(notes))


def stage1_compiled(report: Report, device: torch.device, toy: bool) -> None:
    """Our stage-1 step in bf16 with the model compiled, as `stage1.compile=true` does."""
    step = Stage1Step(published(toy), device, "bf16", is_plain=False)
    step.model.compile(backend="aot_eager" if toy else "inductor")
    _timed(report, f"stage-1 step, bf16, {N_IMAGES} images: ours, compiled", step, device, {})


def stage1_modules(report: Report, device: torch.device, toy: bool) -> None:
    """Forward and backward of each module of stage 1 by itself, in bf16, ours and where it differs plain."""
    config = published(toy)
    torch.manual_seed(0)
    with torch.device(device):
        layout = quickest_layout(device)
        model = build_stage1(config).train().to(memory_format=layout)  # type: ignore[call-overload]
        images = torch.rand(N_IMAGES, 3, config.data.resolution, config.data.resolution) * 2 - 1
        plain: Any = transcribe(build_stage1(config)).train()
    with torch.no_grad(), autocast(device, "bf16"):
        features = model.encoder(images)
        kept = model.mask(features)
        regions = model.quantizer(kept.features).features
        inferred = model.demask(regions, kept.positions)
    inner = {
        "encoder": lambda: model.encoder(images),
        "mask and quantiser": lambda: model.quantizer(model.mask(_leaf(features)).features).features,
        "de-mask": lambda: model.demask(_leaf(regions), kept.positions),
        "de-mask, transcribed": lambda: plain.demask(_leaf(regions), kept.positions),
        "decoder": lambda: model.decoder(_leaf(inferred)),
    }
    for name, forward in inner.items():
        try:
            seconds = seconds_of(partial(_back_and_forth, forward, device), device, repeats=4)
            report.add(f"stage 1, bf16, {N_IMAGES} images: {name}", value=1e3 * seconds, unit="ms")
        except Exception as error:
            report.failed(f"stage 1: {name}", error)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _back_and_forth(forward: Callable[[], Tensor], device: torch.device) -> None:
    with autocast(device, "bf16"):
        loss = forward().float().square().mean()
    loss.backward()


def stage2_steps(report: Report, device: torch.device, toy: bool, precision: str) -> None:
    """A stage-2 step: ours as published, ours holding all activations, and with stored attention."""
    config = published(toy)
    side = config.grid_side
    n_pairs = n_kept(config.mask.ratio_in_use, side**2)
    with torch.device(device):
        codes = torch.randint(config.quantizer.codebook_size, (N_IMAGES, n_pairs))
        places = torch.rand(N_IMAGES, side**2).argsort(1)[:, :n_pairs].sort(1).values
    pairs = Pairs(codes, places, side)
    work = f"stage-2 step, {precision}, {N_IMAGES} images of {n_pairs} pairs"
    seconds: dict[str, float] = {}
    for way, is_plain, recomputes in (
        ("stored attention", True, False),
        ("ours", False, False),
        ("ours, activations recomputed", False, True),
    ):
        try:
            torch.manual_seed(0)
            settings = config.transformer.model_copy(update={"activation_checkpointing": recomputes})
            sizes: dict[str, Any] = {
                "codebook_size": config.quantizer.codebook_size,
                "side": side,
                "n_pairs": n_pairs,
            }
            with torch.device(device):
                model = build_stage2(settings, **sizes).train()
            step = _stage2_step(transcribe(model) if is_plain else model, pairs, config, device, precision)
            _timed(report, f"{work}: {way}", step, device, seconds)
            del model, step
        except Exception as error:
            report.failed(f"{work}: {way}", error)
        release_memory()


def _stage2_step(
    model: PairModel, pairs: Pairs, config: Config, device: torch.device, precision: str
) -> Callable[[], object]:
    optimiser, batch = build_optimiser(model, config.stage2), tokens_of(pairs)
    updates = MixedUpdates(device, is_mixed=precision == "bf16")
    return lambda: stage2_step(model, optimiser, batch, config, updates)


def parts_of(device: torch.device, toy: bool) -> dict[str, Callable]:
    """The parts that training steps have, by name; each takes the report."""
    here: dict[str, Any] = {"device": device, "toy": toy}
    return {
        "stage-1 step, bf16": partial(stage1_steps, precision="bf16", **here),
        "stage-1 step, fp32": partial(stage1_steps, precision="fp32", **here),
        "stage-1 step, compiled": partial(stage1_compiled, **here),
        "stage-1 modules": partial(stage1_modules, **here),
        "stage-2 step, bf16": partial(stage2_steps, precision="bf16", **here),
        "stage-2 step, fp32": partial(stage2_steps, precision="fp32", **here),
    }
