"""Attention as matrices: against the fused layers, and in cases with a known answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mvqlab.config import BackboneConfig, DemaskConfig
from mvqlab.evaluation.images.attention_maps import (
    attention_matrix,
    share_on,
    softmax_matrix,
    trace_demask,
)
from mvqlab.models.demasking import DemaskModule, DirectionConstrainedAttention, initial_trust

B, D, H, W, CODE_DIM = 2, 6, 3, 5, 7
L = H * W


def a_layer(renormalise: bool = False) -> DirectionConstrainedAttention:
    torch.manual_seed(0)
    layer = DirectionConstrainedAttention(D, groups=3, renormalise=renormalise)
    with torch.no_grad():
        layer.query_key_value.weight.mul_(4.0)  # or attention is too flat to tell one form from another
    return layer


def some_trust() -> Tensor:
    positions = torch.stack([torch.randperm(L)[:4].sort().values for _ in range(B)])
    return initial_trust(positions, L, 0.02)


@pytest.mark.parametrize("renormalise", [False, True])
def test_matrix_times_values_is_what_the_fused_layer_gives(renormalise: bool) -> None:
    layer, x = a_layer(renormalise), torch.randn(B, D, H, W)
    trust = some_trust()
    values = layer.project(x)[2]
    for given in (trust, None):
        by_matrix = layer.add(x, attention_matrix(layer, x, given).unsqueeze(1) @ values)
        torch.testing.assert_close(by_matrix, layer(x, given), rtol=1e-4, atol=1e-5)


def test_trust_scales_columns_not_rows() -> None:
    layer, x = a_layer(), torch.randn(B, D, H, W)
    trust = torch.ones(B, L)
    trust[1, 3] = 0.25
    plain, scaled = softmax_matrix(layer, x), attention_matrix(layer, x, trust)
    torch.testing.assert_close(scaled[1, :, 3], 0.25 * plain[1, :, 3])
    others = [j for j in range(L) if j != 3]
    torch.testing.assert_close(scaled[1][:, others], plain[1][:, others])
    torch.testing.assert_close(scaled[0], plain[0])


def test_row_sums_are_one_only_where_they_should_be() -> None:
    x, trust = torch.randn(B, D, H, W), some_trust()
    ones = torch.ones(B, L)
    torch.testing.assert_close(softmax_matrix(a_layer(), x).sum(dim=-1), ones)
    torch.testing.assert_close(attention_matrix(a_layer(renormalise=True), x, trust).sum(dim=-1), ones)
    sums = attention_matrix(a_layer(), x, trust).sum(dim=-1)
    assert (sums > 0.02).all() and (sums < 1.0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": 3},
        {"layers": 3, "mask_update": False},
        {"layers": 2, "direction_constraint": False},
        {"layers": 2, "renormalise": True},
    ],
)
def test_a_trace_ends_where_the_module_ends(settings: dict[str, object]) -> None:
    torch.manual_seed(1)
    backbone = BackboneConfig(feature_dim=D, norm_groups=3)
    module = DemaskModule(DemaskConfig(**settings), backbone, CODE_DIM, side=4)
    positions = torch.stack([torch.randperm(16)[:5].sort().values for _ in range(B)])
    regions = torch.randn(B, 5, CODE_DIM)
    traces = trace_demask(module, regions, positions)
    assert len(traces) == settings["layers"]
    with torch.no_grad():
        end = module.residual_block_out(traces[-1].after)
        torch.testing.assert_close(end, module(regions, positions), rtol=1e-4, atol=1e-5)


def test_a_trace_tells_the_trust_of_each_layer() -> None:
    torch.manual_seed(1)
    module = DemaskModule(DemaskConfig(layers=3), BackboneConfig(feature_dim=D), CODE_DIM, side=2)
    traces = trace_demask(module, torch.randn(1, 1, CODE_DIM), torch.tensor([[2]]))
    for n, trace in enumerate(traces):
        dropped = 0.02 ** (0.5**n)
        torch.testing.assert_close(trace.trust, torch.tensor([[dropped, dropped, 1.0, dropped]]))
        torch.testing.assert_close(trace.attention, trace.softmax * trace.trust[:, None, :])


def test_a_trace_without_constraint_trusts_everyone() -> None:
    config = DemaskConfig(layers=1, direction_constraint=False)
    module = DemaskModule(config, BackboneConfig(feature_dim=D), CODE_DIM, side=2)
    (trace,) = trace_demask(module, torch.randn(1, 1, CODE_DIM), torch.tensor([[2]]))
    assert (trace.trust == 1.0).all()
    torch.testing.assert_close(trace.attention, trace.softmax)


def test_share_is_taken_of_each_row() -> None:
    attention = torch.tensor([[[0.2, 0.3, 0.5], [0.1, 0.0, 0.1], [0.0, 0.4, 0.0]]])
    shares = share_on(attention, torch.tensor([[True, False, True]]))
    torch.testing.assert_close(shares, torch.tensor([[0.7, 1.0, 0.0]]))
