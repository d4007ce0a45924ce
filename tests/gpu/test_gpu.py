"""What only a GPU can show: it computes what the CPU computes, and draws replayed what it draws plainly.

`mvqlab gpu check` runs these; elsewhere they are skipped. Which of them have run, and on what, is said in
results/gpu.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor

from mvqlab.config import QuantizerConfig, SamplingConfig
from mvqlab.gpu.toys import (
    KINDS,
    N_CLASSES,
    autocast,
    exact_float32,
    toy_config,
    toy_images,
    toy_pairs,
    toy_stage1,
    toy_stage2,
)
from mvqlab.models.mqvae import TokenModel, quickest_layout
from mvqlab.models.pairs import Pairs
from mvqlab.models.quantizer import VectorQuantizer
from mvqlab.sampling import sample_pairs, sample_plainly
from mvqlab.sampling.filters import FORBIDDEN, choose

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _exact():
    torch.manual_seed(0)
    with exact_float32():
        yield


def test_a_codebook_step_is_the_cpus() -> None:
    config = QuantizerConfig(codebook_size=37, code_dim=11, restart="none")
    here, there = VectorQuantizer(config).train(), None
    features = torch.randn(3, 29, 11)
    here.codebook.initialise(features)
    there = copy.deepcopy(here).to(GPU)
    for _ in range(3):
        one, other = here(features), there(features.to(GPU))
        assert torch.equal(one.codes, other.codes.cpu())
        torch.testing.assert_close(one.loss, other.loss.cpu())
    torch.testing.assert_close(here.codebook.codes, there.codebook.codes.cpu(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(here.codebook.ema_counts, there.codebook.ema_counts.cpu())


def test_restarts_redraw_codes_on_the_gpu() -> None:
    config = QuantizerConfig(codebook_size=64, code_dim=5, restart="released")
    quantizer = VectorQuantizer(config).to(GPU).train()
    before = quantizer.codebook.codes.clone()
    for _ in range(5):
        quantizer(torch.randn(2, 7, 5, device=GPU))
    assert torch.isfinite(quantizer.codebook.codes).all()
    assert not torch.equal(before, quantizer.codebook.codes)


def on_both() -> tuple[Tensor, TokenModel, TokenModel]:
    """Four images, and a model on the CPU and on the GPU whose codes come from more regions than codes."""
    here = toy_stage1(toy_config(), toy_images(16))
    return toy_images(4), here, copy.deepcopy(here).to(GPU, memory_format=quickest_layout(GPU))


def test_the_nearest_codes_are_as_near_as_the_cpus() -> None:
    """Two codes that are as near may be told apart by rounding alone: distances are compared, not indices."""
    images, here, there = on_both()
    with torch.no_grad():
        kept, kept_there = here.select(images), there.select(images.to(GPU))
    assert torch.equal(kept.positions, kept_there.positions.cpu())
    torch.testing.assert_close(kept.features, kept_there.features.cpu(), atol=1e-4, rtol=1e-3)
    exact, table = kept.features.detach().double(), here.codebook.double()
    codes = there.quantizer.codebook.nearest(kept.features.to(GPU)).cpu()
    nearest = torch.cdist(exact, table.expand(len(exact), -1, -1)).square().min(dim=-1).values
    chosen = (exact - table[codes]).square().sum(-1)
    rounding = 1e-6 * (exact.square().sum(-1) + table.square().sum(-1).max())
    assert bool((chosen <= nearest + rounding).all())


def test_mqvae_forward_and_backward_are_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same codes; see the test above."""
    images, here, there = on_both()
    codes = here.encode(images).pairs.codes
    for model in (here, there):
        monkeypatch.setattr(model.quantizer.codebook, "nearest", partial(_chosen_before, codes))
    made = {}
    for model, device in ((here, CPU), (there, GPU)):
        made[device] = model(images.to(device))
        (made[device].images.square().mean() + made[device].quantizer_loss).backward()
    assert torch.equal(made[CPU].pairs.positions, made[GPU].pairs.positions.cpu())
    torch.testing.assert_close(made[CPU].quantizer_loss, made[GPU].quantizer_loss.cpu(), atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(made[CPU].images, made[GPU].images.cpu(), atol=1e-4, rtol=1e-3)
    largest = max(parameter.grad.abs().max() for parameter in here.parameters())
    for (name, one), other in zip(here.named_parameters(), there.parameters(), strict=True):
        apart = (one.grad - other.grad.cpu()).abs().max()
        assert apart < 1e-3 * largest, name


def _chosen_before(codes: Tensor, features: Tensor) -> Tensor:
    return codes.to(features.device)


def test_bfloat16_chooses_the_codes_that_float32_chooses() -> None:
    """Of the same features: autocast must not round the distances to them."""
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=512, code_dim=32)).to(GPU).eval()
    features = 0.01 * torch.randn(4, 64, 32, device=GPU)
    exact = quantizer.codebook.nearest(features)
    with autocast(GPU, "bf16"):
        assert torch.equal(quantizer.codebook.nearest(features), exact)


def test_stage2_loss_is_the_cpus() -> None:
    for kind in ("code_first", "raster"):
        model = toy_stage2(kind)
        pairs = toy_pairs(model)
        here = model.loss(pairs).total
        there = copy.deepcopy(model).to(GPU).loss(pairs.to("cuda")).total
        torch.testing.assert_close(here, there.cpu(), atol=1e-4, rtol=1e-4)


def drawn(kind: str, temperature: float, **settings: object) -> Pairs:
    """Four images' pairs on the GPU; of classes, guided."""
    model = toy_stage2(kind).to(GPU)
    guidance = {"code_guidance": 2.0, "position_guidance": 2.0} if kind == "classes" else {}
    conditions: Tensor | None = torch.arange(4) % N_CLASSES if kind == "classes" else None
    return sample_pairs(
        model,
        4,
        SamplingConfig(temperature=temperature, **guidance, **settings),
        generator=torch.Generator(GPU).manual_seed(0),
        conditions=conditions,
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_replayed_step_draws_what_a_plain_one_draws(kind: str, temperature: float) -> None:
    plain, replayed = drawn(kind, temperature), drawn(kind, temperature, cuda_graph=True)
    assert torch.equal(plain.codes, replayed.codes) and torch.equal(plain.positions, replayed.positions)


def test_one_kernel_chooses_what_the_filters_choose() -> None:
    pytest.importorskip("triton")
    from mvqlab.sampling.fused_kernels import fused_choose

    logits = 3.0 * torch.randn(200, 1025, device=GPU)
    logits = logits.masked_fill(torch.rand(200, 1025, device=GPU) < 0.3, FORBIDDEN)[:, :1024]
    for k, p in ((0, 1.0), (100, 0.95), (10, 0.95), (0, 0.8)):
        ways = (choose, fused_choose)
        one, other = (way(logits, 0.9, k, p, torch.Generator(GPU).manual_seed(2)) for way in ways)
        # a sum in another order may move the edge of top-p by one choice
        assert (one != other).sum() <= 2, (k, p)


@pytest.mark.parametrize("kernels", ["fused", "compiled"])
def test_quick_steps_draw_what_plain_ones_draw(kernels: str) -> None:
    plain, quick = drawn("code_first", 0.0), drawn("code_first", 0.0, cuda_graph=True, kernels=kernels)
    assert torch.equal(plain.codes, quick.codes) and torch.equal(plain.positions, quick.positions)


@pytest.mark.parametrize("kind", ["code_first", "raster"])
def test_the_cache_draws_what_reading_anew_draws(kind: str) -> None:
    model = toy_stage2(kind).to(GPU)
    whole = sample_plainly(
        model, 4, SamplingConfig(temperature=0.0), generator=torch.Generator(GPU).manual_seed(0)
    )
    cached = drawn(kind, 0.0)
    assert torch.equal(whole.codes, cached.codes) and torch.equal(whole.positions, cached.positions)


def test_the_likeliest_pairs_are_the_cpus() -> None:
    settings = SamplingConfig(temperature=0.0)
    here = sample_pairs(toy_stage2("code_first"), 4, settings, generator=torch.Generator().manual_seed(0))
    there = drawn("code_first", 0.0).to("cpu")
    assert torch.equal(here.codes, there.codes) and torch.equal(here.positions, there.positions)
