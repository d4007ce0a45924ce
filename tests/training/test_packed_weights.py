"""Weights in 8 bits: how far they are off, what is left alone, and that a model is filled from them."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from mvqlab.training.packed_weights import packed, unpacked
from mvqlab.training.weights import load_weights, save_weights


@given(st.integers(1, 5), st.integers(1, 7), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_a_weight_is_off_by_half_a_step_of_its_row_at_most(
    n_rows: int, n: int, size: float, seed: int
) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(n_rows, n, 2) * size * torch.rand(n_rows, 1, 1)
    back = unpacked(packed({"a.weight": weight}))["a.weight"]
    step = weight.abs().amax(dim=(1, 2)) / 127
    assert back.shape == weight.shape and back.dtype == torch.float32
    assert ((back - weight).abs().amax(dim=(1, 2)) <= 0.501 * step).all()


def test_rows_of_zeros_stay_and_vectors_counts_and_codes_are_not_packed() -> None:
    weights = {
        "zero.weight": torch.zeros(2, 3),
        "bias": torch.tensor([0.1, 0.2]),
        "steps": torch.tensor(3),
        "quantizer.codebook": torch.tensor([[0.1, 1e-4]]),
    }
    parts = packed(weights)
    assert set(parts) == {*weights, "zero.weight.row_scale"}
    assert torch.equal(unpacked(parts)["zero.weight"], torch.zeros(2, 3))
    assert parts["bias"].dtype == parts["quantizer.codebook"].dtype == torch.float16
    assert parts["steps"].dtype == torch.int64


def test_a_model_is_filled_from_a_file_of_either_kind(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(64, 32), nn.Linear(64, 32)
    save_weights(first, tmp_path / "whole.safetensors")
    save_weights(first, tmp_path / "small.safetensors", in_8_bits=True)
    load_weights(second, tmp_path / "whole.safetensors")
    assert torch.equal(second.weight, first.weight)
    load_weights(second, tmp_path / "small.safetensors")
    assert 0 < (second.weight - first.weight).abs().max() < 1 / 1000
    assert load_file(tmp_path / "small.safetensors")["weight"].dtype == torch.int8
