"""Steps that are compiled, or made of hand-written kernels, say what the transformer says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import torch

from mvqlab.gpu.toys import KINDS, N_CLASSES, toy_pairs, toy_stage2
from mvqlab.models.key_value_cache import StaticKeyValueCache
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Part
from mvqlab.models.transformer import CausalTransformer, Head
from mvqlab.sampling import draw_pairs, quick_steps, sample_plainly
from mvqlab.sampling.quick_way import Way

B = 3


def logits_of(model: PairModel, kernels: str, n_rows: int = B) -> list[torch.Tensor]:
    """Logits of every part of every pair, each after the same pairs, with a static cache."""
    said: list[torch.Tensor] = []
    pairs = toy_pairs(model, n_rows)
    conditions = torch.arange(n_rows) % N_CLASSES if hasattr(model.start, "classes") else None
    with torch.no_grad(), quick_steps.quick_steps(model, kernels, n_rows):
        cache, previous = model.begin(n_rows, conditions, StaticKeyValueCache), None
        for n in range(model.n_pairs):

            def take(part: Part, logits: torch.Tensor, n: int = n) -> torch.Tensor:
                said.append(logits.clone())
                return pairs.of(part)[:, n]

            previous = model.next_pair(cache, previous, take)
    return said


def assert_same(model: PairModel, kernels: str, n_rows: int = B) -> None:
    plain, quick = logits_of(model, "plain", n_rows), logits_of(model, kernels, n_rows)
    assert len(plain) == len(quick) > model.n_pairs - 1
    for one, other in zip(plain, quick, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("n_rows", [1, B])
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_step_says_what_a_plain_one_says(
    kind: str, n_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function, that is: as it stands, without the compiler."""
    monkeypatch.setattr(quick_steps, "compiled_step", lambda: quick_steps.block_step)
    assert_same(toy_stage2(kind), "compiled", n_rows)


@pytest.mark.slow
def test_a_compiled_step_survives_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_steps, "BACKEND", "aot_eager")
    quick_steps.compiled_step.cache_clear()
    try:
        assert_same(toy_stage2("code_first"), "compiled")
    finally:
        quick_steps.compiled_step.cache_clear()


def test_the_plain_ways_are_back_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_steps, "compiled_step", lambda: quick_steps.block_step)
    model = toy_stage2("code_first")
    with pytest.raises(KeyboardInterrupt), quick_steps.quick_steps(model, "compiled", B):
        assert "forward" in vars(model.code_transformer)
        raise KeyboardInterrupt
    modules = [m for m in model.modules() if isinstance(m, CausalTransformer | Head)]
    assert modules and not any("forward" in vars(module) for module in modules)


@pytest.mark.parametrize("kind", KINDS)
def test_the_repeated_step_draws_the_plain_pairs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that a GPU replays, with its cache of one shape, on the CPU."""

    @contextmanager
    def as_on_a_gpu(*_: object, **__: object) -> Iterator[Way]:
        yield Way(StaticKeyValueCache)

    monkeypatch.setattr(draw_pairs, "quick_way", as_on_a_gpu)
    model = toy_stage2(kind)
    conditions = torch.arange(B) % N_CLASSES if hasattr(model.start, "classes") else None
    drawn = [
        draw(model, B, generator=torch.Generator().manual_seed(4), conditions=conditions)
        for draw in (draw_pairs.sample_pairs, sample_plainly)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    assert torch.equal(drawn[0].positions, drawn[1].positions)


INTERPRETED = """
import torch
from test_quick_steps import assert_same, toy_stage2
from mvqlab.sampling import fused_kernels
from mvqlab.sampling.filters import FORBIDDEN, choose

logits = 3.0 * torch.randn(40, 51, generator=torch.Generator().manual_seed(1))
logits = logits.masked_fill(torch.rand(40, 51) < 0.3, FORBIDDEN)[:, :50]
for k, p in ((0, 1.0), (10, 0.9), (0, 0.8), (100, 1.0)):
    ways = (choose, fused_kernels.fused_choose)
    drawn = [way(logits, 0.9, k, p, torch.Generator().manual_seed(2)) for way in ways]
    assert torch.equal(*drawn), (k, p)
linear, x = torch.nn.Linear(48, 10), torch.randn(2, 48)  # no powers of two
torch.testing.assert_close(fused_kernels.fused_linear(x, linear), linear(x), atol=1e-5, rtol=1e-5)
fused_kernels.BLOCK_PLACES = 16  # so that there are several blocks, the last one not full
for kind, n_rows in (("code_first", 1), ("raster", 2)):
    assert_same(toy_stage2(kind, layers=1), "fused", n_rows)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with torch's builds for GPUs")
@pytest.mark.slow
def test_fused_kernels_say_what_the_transformer_says() -> None:
    """In Triton's interpreter, which needs no GPU."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    ran = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
