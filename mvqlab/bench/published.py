"""One training step of each stage at the published size: seconds, and the most memory it holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mvqlab.bench.timing import Case
from mvqlab.config import load_config
from mvqlab.models.mqvae import build_stage1, quickest_layout
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.support.memory import peak_process_memory
from mvqlab.training.stage1 import adam


def published_cases(device: torch.device) -> list[Case]:
    """`ffhq256` with its batches on a GPU, with single images on a CPU; discriminator and LPIPS left out."""
    config = load_config("ffhq256")
    is_gpu = device.type == "cuda"
    n_images = config.stage1.batch_size if is_gpu else 1
    work = f"ffhq256, stage-1 step with L1 loss, {n_images} images"
    with torch.device(device):
        layout = quickest_layout(device)
        stage1 = build_stage1(config).train().to(memory_format=layout)  # type: ignore[call-overload]
        images = torch.rand(n_images, 3, config.data.resolution, config.data.resolution) * 2 - 1
    step = _step(stage1, lambda: (stage1(images).images - images).abs().mean(), device)
    cases = [Case(work, "ours", "ours", step, memory=lambda: peak_memory(step, device))]

    n_images = config.stage2.batch_size if is_gpu else 1
    n_pairs, side = stage1.n_kept, config.grid_side
    work = f"ffhq256, stage-2 step, {n_images} images of {n_pairs} pairs"
    with torch.device(device):
        sizes = {"codebook_size": config.quantizer.codebook_size, "side": side, "n_pairs": n_pairs}
        stage2 = build_stage2(config.transformer, **sizes).train()
        codes = torch.randint(config.quantizer.codebook_size, (n_images, n_pairs))
        positions = torch.rand(n_images, side**2).argsort(1)[:, :n_pairs].sort(1).values
    pairs = Pairs(codes, positions, side)
    step2 = _step(stage2, lambda: stage2.loss(pairs).total, device)
    return [*cases, Case(work, "ours", "ours", step2, memory=lambda: peak_memory(step2, device))]


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes held at most: of the device during one `run`, or of the whole process so far on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    return peak_process_memory() or 0


def _step(model: nn.Module, loss: Callable[[], torch.Tensor], device: torch.device) -> Callable[[], None]:
    """Forward in bfloat16 on a GPU, backward, Adam."""
    optimiser = adam(model, load_config("ffhq256").stage1)

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss()
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return run
