"""Small models and fixed data for the checks: the same numbers on every device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mvqlab.config import Config, TransformerConfig, load_config
from mvqlab.data import Batch
from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import TokenModel, build_stage1, quickest_layout
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.training.losses import Judges
from mvqlab.training.optimiser import build_optimiser
from mvqlab.training.stage1 import adam
from mvqlab.training.stage1_step import Adversary, Judged, stage1_step
from mvqlab.training.stage2_step import stage2_step
from mvqlab.training.tokens import TokenSet
from mvqlab.training.updates import MixedUpdates

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
    adversary = Adversary(discriminator, adam(discriminator, config.stage1), ramp=1.0)
    if compiled:
        model.compile(backend=compiled)
    judged, optimiser = Judged(model, config.loss, Judges(None, discriminator)), adam(model, config.stage1)
    batch = batch_of(images.to(device))
    updates = MixedUpdates(device, is_mixed=precision == "bf16")
    losses = [stage1_step(judged, optimiser, batch, config, adversary, updates) for _ in range(steps)]
    return [float(of_step["loss"]) for of_step in losses]


def stage2_losses(
    device: torch.device, precision: str, steps: int, compiled: str | None = None
) -> list[float]:
    """Losses of `steps` training steps of a small Stackformer on the same images; see `stage1_losses`."""
    model = toy_stage2("code_first").train()
    pairs = toy_pairs(model).to(device)
    model = model.to(device)
    config = load_config("shapes32", {"stage2.learning_rate": 1e-3})
    optimiser = build_optimiser(model, config.stage2)
    if compiled:
        model.compile(backend=compiled)
    batch = tokens_of(pairs)
    updates = MixedUpdates(device, is_mixed=precision == "bf16")
    losses = [stage2_step(model, optimiser, batch, config, updates) for _ in range(steps)]
    return [float(of_step["loss"]) for of_step in losses]


def batch_of(images: Tensor) -> Batch:
    """A batch of `images` (B, 3, H, W) of which nothing else is known."""
    return Batch(images, images.new_full((len(images),), -1, dtype=torch.long), [])


def tokens_of(pairs: Pairs) -> TokenSet:
    """A batch of `pairs` of images of which nothing else is known."""
    return TokenSet(pairs, pairs.codes.new_full((len(pairs),), -1))


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
