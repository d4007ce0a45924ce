"""Sampling at the published size: beside the memory's bandwidth, and beside transformers' `generate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mvqlab.bench.gpt2 import build_gpt2, generate
from mvqlab.bench.sampling import bytes_read_for_a_pair
from mvqlab.config import SamplingConfig, TransformerConfig
from mvqlab.gpu.clock import Moment, seconds_of
from mvqlab.gpu.parts import Report, release_memory
from mvqlab.models.pair_model import PairModel
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import Chooser, sample_pairs
from mvqlab.sampling.cuda_graph import ReplayedStep
from mvqlab.sampling.quick_steps import Kernels, quick_choice

SKIPPED_PAIRS = 6  # the first is not replayed, three warm up, one is captured
GOAL = 0.6  # share of the bandwidth bound, one image, float32
WAYS: dict[str, SamplingConfig] = {
    "cached": SamplingConfig(),
    "CUDA graph": SamplingConfig(cuda_graph=True),
    "CUDA graph, compiled blocks": SamplingConfig(cuda_graph=True, kernels="compiled"),
    "CUDA graph, fused kernels": SamplingConfig(cuda_graph=True, kernels="fused"),
}
FEW, MANY = (
    ("cached", "CUDA graph", "CUDA graph, fused kernels", "CUDA graph, compiled blocks"),
    (
        "CUDA graph",
        "CUDA graph, compiled blocks",
    ),
)


@dataclass(frozen=True)
class Sizes:
    """Of the model that is drawn with: `ffhq256`, or a toy."""

    layers: int = 12  # of each stack
    width: int = 1024
    heads: int = 16
    codebook_size: int = 1024
    side: int = 32
    n_pairs: int = 256
    n_generated: int = 256  # of transformers' model

    @classmethod
    def toy(cls) -> Sizes:
        return cls(layers=1, width=32, heads=2, codebook_size=120, side=4, n_pairs=10, n_generated=10)


def build(sizes: Sizes, device: torch.device, dtype: torch.dtype = torch.float32) -> PairModel:
    """Stackformer of that size on the device, untrained: how long it takes does not depend on that."""
    config = TransformerConfig(
        code_layers=sizes.layers,
        position_layers=sizes.layers,
        width=sizes.width,
        heads=sizes.heads,
        dropout=0.0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = build_stage2(
            config, codebook_size=sizes.codebook_size, side=sizes.side, n_pairs=sizes.n_pairs
        )
    return model.to(dtype).eval()


def seconds_a_pair(model: PairModel, n_images: int, settings: SamplingConfig) -> float:
    """Seconds of a pair once sampling runs: the mean from pair SKIPPED_PAIRS to the last, as a user draws."""
    device = next(model.parameters()).device
    moments: list[Moment] = []

    def note() -> None:
        moments.append(Moment(device))

    generator = torch.Generator(device).manual_seed(0)
    sample_pairs(model, n_images, settings, generator=generator, progress=note)
    return moments[SKIPPED_PAIRS - 1].until(moments[-1]) / (len(moments) - SKIPPED_PAIRS)


def bound(model: PairModel, n_images: int, bandwidth: float) -> float:
    """Seconds that reading takes for a pair: all weights once, and of each image half of a full cache."""
    first: Any = model.stacks()[0].blocks[0]
    weight = first.norm1.weight
    n_layers = sum(len(stack.blocks) for stack in model.stacks())
    cached = n_images * n_layers * model.n_pairs * len(weight) * weight.element_size()  # keys + values, half
    return (bytes_read_for_a_pair(model) + cached) / bandwidth


def sampling_parts(
    report: Report,
    device: torch.device,
    sizes: Sizes,
    bandwidth: Callable[[], float],
    *,
    dtype: torch.dtype,
    n_images: int,
) -> None:
    """Milliseconds a pair, images a second and the share of the bandwidth bound, way by way."""
    model = build(sizes, device, dtype)
    name = "fp32" if dtype == torch.float32 else "bf16 weights"
    limit = bound(model, n_images, bandwidth())
    work = f"sampling, {name}, batch {n_images}"
    report.add(
        f"{work}: bandwidth bound",
        value=1e3 * limit,
        unit="ms a pair",
        note=f"{1e-9 * limit * bandwidth():.2f} GB a pair",
    )
    for way in FEW if n_images <= 4 else MANY:
        try:
            seconds = seconds_a_pair(model, n_images, WAYS[way])
            share = limit / seconds
            goal = ""
            if n_images == 1 and dtype == torch.float32:
                goal = f"; goal {GOAL:.0%} {'met' if share >= GOAL else 'not met'}"
            a_second = n_images / (seconds * model.n_pairs)
            note = f"{share:.1%} of the bound, {a_second:.3g} images a second{goal}"
            report.add(f"{work}: {way}", value=1e3 * seconds, unit="ms a pair", note=note)
        except Exception as error:
            report.failed(f"{work}: {way}", error)
        release_memory()


def same_likeliest(report: Report, device: torch.device, sizes: Sizes) -> None:
    """Whether the quick ways draw the likeliest pairs that the plain one draws, one image in float32.

    The model is untrained, so its likeliest and next choices lie close: what is told is the share of pairs
    before the first that differs. `mvqlab gpu check` compares ways on logits that lie apart.
    """
    model = build(sizes, device)
    generator = torch.Generator(device)
    ways = ("cached", "CUDA graph, compiled blocks", "CUDA graph, fused kernels")
    drawn = {
        way: sample_pairs(model, 1, WAYS[way].model_copy(update={"temperature": 0.0}), generator=generator)
        for way in ways
    }
    for way in ways[1:]:
        same = (drawn[way].codes == drawn["cached"].codes) & (
            drawn[way].positions == drawn["cached"].positions
        )
        share = float(same.long().cumprod(1).double().mean())
        report.add(f"likeliest pairs, {way}, as cached", value=share, unit="of pairs before one differs")


def chooser_cost(report: Report, device: torch.device, sizes: Sizes) -> None:
    """What choosing a code and a position costs of a pair: filters and draws alone, replayed."""
    model = build(sizes, device)
    ways: tuple[tuple[int, Kernels], ...] = ((1, "plain"), (1, "fused"), (64, "plain"), (64, "fused"))
    for n_images, kernels in ways:
        generator = torch.Generator(device).manual_seed(0)
        chooser = Chooser(model, n_images, SamplingConfig(), generator)
        on_this: Kernels = kernels if device.type == "cuda" else "plain"
        chooser.choose = quick_choice(on_this)
        codes = torch.randn(n_images, sizes.codebook_size + 1, device=device)
        places = torch.randn(n_images, sizes.side**2 + 1, device=device)

        def choose(chooser: Chooser = chooser, codes: Tensor = codes, places: Tensor = places) -> None:
            chooser("code", codes)
            chooser("position", places)

        run = ReplayedStep(choose, generator) if device.type == "cuda" else choose
        with torch.no_grad():
            seconds = seconds_of(run, device, repeats=50, warmup=6)
        report.add(
            f"choosing code and position, {kernels}, batch {n_images}", value=1e3 * seconds, unit="ms a pair"
        )


def generate_parts(report: Report, device: torch.device, sizes: Sizes, is_static: bool) -> None:
    """GPT-2 of as many layers and the same width, by transformers' `generate`: milliseconds a token.

    A token of it and a pair of ours each read every layer once.
    """
    if find_spec("transformers") is None:
        report.add("transformers generate", "skipped", note="transformers is not installed")
        return
    end, length = sizes.codebook_size, sizes.n_generated + 8
    shape = {"width": sizes.width, "layers": 2 * sizes.layers, "heads": sizes.heads}
    with torch.device(device):
        gpt2 = build_gpt2(end + 1, length, padding=end, **shape).eval()
    cache = "static cache" if is_static else "its default cache"
    more: dict[str, Any] = {"cache_implementation": "static"} if is_static else {}
    for n_images in (1, 64):
        start = torch.full((n_images, 1), end, device=device)
        run = partial(generate, gpt2, start, sizes.n_generated, **more)
        try:
            began = time.perf_counter()
            seconds = seconds_of(run, device, repeats=1, warmup=1) / sizes.n_generated
            a_second = n_images / (seconds * sizes.n_generated)
            note = f"{a_second:.3g} sequences a second; {time.perf_counter() - began:.0f} s with its warm-up"
            name = f"transformers generate, {cache}, fp32, batch {n_images}"
            report.add(name, value=1e3 * seconds, unit="ms a token", note=note)
        except Exception as error:
            report.failed(f"transformers generate, {cache}, batch {n_images}", error)


def parts_of(sizes: Sizes, device: torch.device, bandwidth: Callable[[], float]) -> dict[str, Callable]:
    """The parts that sampling has, by name; each takes the report."""
    sampling = partial(sampling_parts, device=device, sizes=sizes, bandwidth=bandwidth)
    return {
        "sampling, fp32, batch 1": partial(sampling, dtype=torch.float32, n_images=1),
        "sampling, bf16, batch 1": partial(sampling, dtype=torch.bfloat16, n_images=1),
        "sampling, fp32, batch 64": partial(sampling, dtype=torch.float32, n_images=64),
        "sampling, bf16, batch 256": partial(sampling, dtype=torch.bfloat16, n_images=256),
        "choosing": partial(chooser_cost, device=device, sizes=sizes),
        "likeliest pairs": partial(same_likeliest, device=device, sizes=sizes),
        "generate": partial(generate_parts, device=device, sizes=sizes, is_static=False),
        "generate, static": partial(generate_parts, device=device, sizes=sizes, is_static=True),
    }
