"""Small models and fixed data for the checks: the same numbers on every device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mvqlab.config import Config, TransformerConfig, load_config
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import TokenModel, build_stage1, quickest_layout
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformer import weight_decay_groups
from mvqlab.models.transformers import build_stage2
from mvqlab.training.losses import Judges, generator_loss, hinge_discriminator_loss
from mvqlab.training.stage1 import adam

CODEBOOK_SIZE, SIDE, N_PAIRS, N_CLASSES = 61, 6, 18, 5
KINDS = ("code_first", "position_first", "raster", "ends", "classes")


def toy_config() -> Config:
    """`shapes32` with all losses that need no download. Codes are not redrawn: devices draw differently."""
    return load_config(
        "shapes32",
        {
            "quantizer.restart": "none",
            "quantizer.start_step": 0,
            "loss.adversarial_weight": 0.3,
            "discriminator.layers": 2,
            "discriminator.base_channels": 16,
            "stage1.warmup_steps": 0,
        },
    )


def toy_images(n_images: int, resolution: int = 32) -> Tensor:
    """Smooth random images (B, 3, H, W) in [-1, 1], always the same."""
    coarse = torch.rand(n_images, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(resolution, resolution), mode="bilinear")


def toy_stage1(config: Config, images: Tensor) -> TokenModel:
    """A stage-1 model on the CPU, from a fixed seed, its codebook started from `images`."""
    torch.manual_seed(0)
    model = build_stage1(config)
    model.initialise_codebook(images)
    return model.train()


def toy_stage2(kind: str, width: int = 64, layers: int = 2) -> PairModel:
    """A stage-2 model of one of KINDS on the CPU, from a fixed seed, its logits far enough apart."""
    torch.manual_seed(0)
    config = TransformerConfig(
        model="raster" if kind == "raster" else "stackformer",
        first="position" if kind == "position_first" else "code",
        condition="class" if kind == "classes" else "none",
        code_layers=layers,
        position_layers=layers,
        width=width,
        heads=4,
        dropout=0.0,
        match_parameters=False,
    )
    model = build_stage2(
        config,
        codebook_size=CODEBOOK_SIZE,
        side=SIDE,
        n_pairs=SIDE**2 if kind == "raster" else N_PAIRS,
        n_classes=N_CLASSES,
        has_end=kind == "ends",
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model.eval()


def toy_pairs(model: PairModel, n_images: int = 4) -> Pairs:
    """Random pairs that `model` could be trained on, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(model.codebook_size, (n_images, model.n_pairs), generator=generator)
    places = torch.rand(n_images, model.side**2, generator=generator).argsort(1)[:, : model.n_pairs]
    return Pairs(codes, places.sort(1).values, model.side)


def stage1_losses(
    device: torch.device, precision: str, steps: int, compiled: str | None = None
) -> list[float]:
    """Losses of `steps` training steps on the same eight images: L1, GAN and quantiser.

    precision: "fp32" or "bf16". compiled: a backend of torch.compile, or none.
    """
    config, images = toy_config(), toy_images(8)
    layout = quickest_layout(device)
    model = toy_stage1(config, images).to(device, memory_format=layout)  # type: ignore[call-overload]
    torch.manual_seed(1)
    discriminator = PatchDiscriminator(config.discriminator).to(device)
    optimisers = [adam(model, config.stage1), adam(discriminator, config.stage1)]
    images = images.to(device)
    run = torch.compile(model, backend=compiled) if compiled else model
    losses = []
    for _ in range(steps):
        with autocast(device, precision):
            discriminator.requires_grad_(False)
            made = run(images)
            judges = Judges(None, discriminator)
            terms = generator_loss(config.loss, judges, made, images, model.decoder.last_layer, 1.0)
            discriminator.requires_grad_(True)
            verdict = hinge_discriminator_loss(discriminator(images), discriminator(made.images.detach()))
        terms.total.backward()
        verdict.backward()
        losses.append(terms.total.detach())
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return [float(loss) for loss in losses]


def stage2_losses(
    device: torch.device, precision: str, steps: int, compiled: str | None = None
) -> list[float]:
    """Losses of `steps` training steps of a small Stackformer on the same images; see `stage1_losses`."""
    model = toy_stage2("code_first").train()
    pairs = toy_pairs(model).to(device)
    model = model.to(device)
    optimiser = torch.optim.AdamW(weight_decay_groups(model, 0.01), lr=1e-3, betas=(0.9, 0.95), fused=True)
    run = torch.compile(model.loss, backend=compiled) if compiled else model.loss
    losses = []
    for _ in range(steps):
        with autocast(device, precision):
            loss = run(pairs).total
        loss.backward()
        losses.append(loss.detach())
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return [float(loss) for loss in losses]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where `precision` is "bf16", nothing where it is "fp32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Without TF32, which keeps ten bits of the products' factors, inside the `with`."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
