"""Sampling with and without a cache, beside what the memory allows and beside transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from mvqlab.bench.gpt2 import build_gpt2, generate
from mvqlab.bench.timing import Case, read_bandwidth
from mvqlab.config import SamplingConfig, TransformerConfig
from mvqlab.models.transformers import PairModel, build_stage2
from mvqlab.sampling import sample_pairs, sample_plainly

N_IMAGES, CODEBOOK_SIZE, WIDTH, HEADS, LAYERS = 4, 1024, 256, 8, 4
PUBLISHED_WIDTH, PUBLISHED_HEADS = 1024, 16
N_PAIRS, MANY_PAIRS, PUBLISHED_PAIRS = 256, 768, 64
BOUND = "bandwidth bound"


def sampling_cases(device: torch.device) -> list[Case]:
    """4 + 4 layers, 4 images: 256 and 768 pairs at width 256, 64 at the published one; GPT-2's `generate`."""
    bandwidth = read_bandwidth(device)
    return [
        *_cached_cases(device, N_PAIRS, bandwidth),
        *_cached_cases(device, MANY_PAIRS, bandwidth),
        *_published_width_cases(device, PUBLISHED_PAIRS, bandwidth),
        *(_filling_cases(device, PUBLISHED_PAIRS) if device.type == "cuda" else []),
        *_generate_cases(device, N_PAIRS),
    ]


def _cached_cases(device: torch.device, n_pairs: int, bandwidth: float) -> list[Case]:
    model = _model("stackformer", 32, n_pairs, WIDTH, HEADS).to(device)
    work = f"sampling {N_IMAGES} images of {n_pairs} pairs"
    bound = n_pairs * bytes_read_for_a_pair(model) / bandwidth
    uncached = _sampler(sample_plainly, model, device)
    return [
        Case(work, "uncached", "uncached", uncached, once=n_pairs > N_PAIRS),
        *_ways(work, "uncached", model, N_IMAGES, device),
        Case(work, BOUND, "uncached", seconds=bound),
    ]


def _published_width_cases(device: torch.device, n_pairs: int, bandwidth: float) -> list[Case]:
    """The published width at a third of the layers, where reading the weights is nearly all there is."""
    model = _model("stackformer", 32, n_pairs, PUBLISHED_WIDTH, PUBLISHED_HEADS).to(device)
    bound = n_pairs * bytes_read_for_a_pair(model) / bandwidth
    cases = []
    for n_images in (1, N_IMAGES):
        work = f"sampling {n_images} images of {n_pairs} pairs, width {PUBLISHED_WIDTH}"
        cases += _ways(work, "cached", model, n_images, device)
        cases.append(Case(work, BOUND, "cached", seconds=bound))
    return cases


def _filling_cases(device: torch.device, n_pairs: int) -> list[Case]:
    """Larger and larger batches, to see how many images a second the card can draw."""
    model = _model("stackformer", 32, n_pairs, PUBLISHED_WIDTH, PUBLISHED_HEADS).to(device)
    cases = []
    for n_images in (64, 256, 1024):
        work = f"sampling {n_images} images of {n_pairs} pairs, width {PUBLISHED_WIDTH}"
        cases += _ways(work, "cached", model, n_images, device)
    return cases


def _ways(work: str, reference: str, model: PairModel, n_images: int, device: torch.device) -> list[Case]:
    """With the cache; on a GPU with a CUDA graph as well."""
    cases = [Case(work, "cached", reference, _sampler(sample_pairs, model, device, n_images))]
    if device.type == "cuda":
        graph = SamplingConfig(cuda_graph=True)
        run = _sampler(sample_pairs, model, device, n_images, graph)
        cases.append(Case(work, "cached, CUDA graph", reference, run))
    return cases


def bytes_read_for_a_pair(model: PairModel) -> int:
    """Bytes of the weights that every pair must read: all but the embeddings, of which a pair reads rows."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    embeddings.add(id(model.place_embedding))
    return sum(p.nbytes for p in model.parameters() if id(p) not in embeddings)


def _generate_cases(device: torch.device, n_codes: int) -> list[Case]:
    """Nothing where transformers is not installed."""
    if find_spec("transformers") is None:
        print(
            "  (transformers is not installed: no comparison with its generate; pip install 'mvqlab[bench]')"
        )
        return []
    raster = _model("raster", round(n_codes**0.5), n_codes, WIDTH, HEADS).to(device)
    work = f"sampling {N_IMAGES} images of {n_codes} codes in raster order"
    return [
        Case(work, "transformers generate", "transformers generate", _generator(n_codes, device)),
        Case(work, "ours", "transformers generate", _sampler(sample_pairs, raster, device)),
    ]


def _model(
    kind: Literal["stackformer", "raster"], side: int, n_pairs: int, width: int, heads: int
) -> PairModel:
    config = TransformerConfig(
        model=kind,
        code_layers=LAYERS,
        position_layers=LAYERS,
        width=width,
        heads=heads,
        dropout=0.0,
        match_parameters=False,
    )
    torch.manual_seed(0)
    return build_stage2(config, codebook_size=CODEBOOK_SIZE, side=side, n_pairs=n_pairs).eval()


def _sampler(
    sample: Callable,
    model: PairModel,
    device: torch.device,
    n_images: int = N_IMAGES,
    settings: SamplingConfig | None = None,
) -> Callable[[], object]:
    def run() -> object:
        generator = torch.Generator(device).manual_seed(0)
        return sample(model, n_images, settings, generator=generator)

    return run


def _generator(n_codes: int, device: torch.device) -> Callable[[], object]:
    """GPT-2 of the raster transformer's size, drawing as many codes with the same filters."""
    gpt2 = build_gpt2(
        CODEBOOK_SIZE + 1, n_codes + 1, width=WIDTH, layers=2 * LAYERS, heads=HEADS, padding=CODEBOOK_SIZE
    )
    gpt2 = gpt2.to(device).eval()
    start = torch.full((N_IMAGES, 1), CODEBOOK_SIZE, device=device)  # (B, 1)
    return partial(generate, gpt2, start, n_codes)
