"""The de-mask module: direction constraint and mask update against the naive form of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvqlab.config import BackboneConfig, DemaskConfig
from mvqlab.models.demasking import (
    DemaskModule,
    DirectionConstrainedAttention,
    initial_trust,
    scatter_regions,
    update_trust,
)

B, D, H, W, CODE_DIM = 2, 6, 3, 5, 7
L = H * W


def naive_attention(
    layer: DirectionConstrainedAttention, x: Tensor, trust: Tensor, renormalise: bool
) -> Tensor:
    """The L x L matrix in full: softmax, then scale the key columns, then (or not) renormalise the rows."""
    places = layer.norm(x).flatten(2).transpose(1, 2)
    query, key, value = (
        places @ w.T + b
        for w, b in zip(
            layer.query_key_value.weight.split(D), layer.query_key_value.bias.split(D), strict=True
        )
    )
    out = torch.empty_like(places)
    for b in range(len(x)):
        for i in range(L):
            row = torch.stack([query[b, i] @ key[b, j] / math.sqrt(D) for j in range(L)]).softmax(0)
            row = row * trust[b]
            if renormalise:
                row = row / row.sum()
            out[b, i] = sum(row[j] * value[b, j] for j in range(L))
    return x + layer.out(out).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("renormalise", [False, True])
@torch.no_grad()
def test_fused_attention_equals_the_naive_form(renormalise: bool) -> None:
    torch.manual_seed(0)
    layer = DirectionConstrainedAttention(D, groups=3, renormalise=renormalise)
    x, trust = torch.randn(B, D, H, W), torch.rand(B, L)
    expected = naive_attention(layer, x, trust, renormalise)
    torch.testing.assert_close(layer(x, trust), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_trust_it_is_plain_attention() -> None:
    layer = DirectionConstrainedAttention(D, groups=3)
    x = torch.randn(B, D, H, W)
    torch.testing.assert_close(layer(x), layer(x, torch.ones(B, L)))


@torch.no_grad()
def test_nothing_flows_from_a_place_without_trust() -> None:
    """The direction constraint at its limit: what a distrusted place holds cannot be heard elsewhere."""
    layer = DirectionConstrainedAttention(D, groups=1)
    layer.norm = torch.nn.Identity()
    for parameter in layer.query_key_value.parameters():
        parameter[D : 2 * D] = 0.0  # every key alike, so that attention weights do not depend on content
    trust = torch.ones(1, L)
    trust[0, 4] = 0.0
    x = torch.randn(1, D, H, W)
    changed = x.clone()
    changed.flatten(2)[0, :, 4] += 3.0
    difference = (layer(changed, trust) - layer(x, trust)).flatten(2)[0].abs().sum(0)
    assert difference[4] > 0
    assert difference[torch.arange(L) != 4].max() < 1e-5


def test_initial_trust_known_values() -> None:
    assert initial_trust(torch.tensor([[0, 3], [2, 1]]), 4, 0.02).tolist() == [
        pytest.approx([1.0, 0.02, 0.02, 1.0]),
        pytest.approx([0.02, 1.0, 1.0, 0.02]),
    ]


@given(start=st.floats(0.001, 1.0))
def test_mask_update_rises_to_full_trust(start: float) -> None:
    trust = torch.tensor([start, 1.0])
    for layer in range(1, 9):
        updated = update_trust(trust)
        assert (updated >= trust).all() and updated[1] == 1.0
        trust = updated
        assert float(trust[0]) == pytest.approx(start ** (0.5**layer), rel=1e-4)


def test_scatter_puts_regions_at_their_places() -> None:
    regions, fill = torch.randn(B, 3, CODE_DIM), torch.randn(CODE_DIM)
    positions = torch.tensor([[1, 4, 9], [0, 13, 14]])
    places = scatter_regions(regions, positions, fill, L)
    for b in range(B):
        for place in range(L):
            row = positions[b].tolist()
            expected = regions[b, row.index(place)] if place in row else fill
            assert torch.equal(places[b, place], expected)


def module(side: int = 4, **switches: object) -> DemaskModule:
    torch.manual_seed(0)
    config = DemaskConfig(layers=3, **switches)
    return DemaskModule(config, BackboneConfig(feature_dim=8, norm_groups=2), CODE_DIM, side)


@torch.no_grad()
def test_whole_module_equals_its_written_out_form() -> None:
    demask = module()
    regions = torch.randn(B, 5, CODE_DIM)
    positions = torch.stack([torch.randperm(16)[:5].sort().values for _ in range(B)])
    places = scatter_regions(regions, positions, demask.mask_token, 16)
    x = demask.conv_in(demask.project(places.transpose(1, 2).reshape(B, CODE_DIM, 4, 4)))
    for layer in range(3):
        trust = initial_trust(positions, 16, 0.02) ** (0.5**layer)
        x = demask.attentions[layer](demask.residual_blocks[layer](x), trust)
    torch.testing.assert_close(demask(regions, positions), demask.residual_block_out(x))


@torch.no_grad()
def test_without_attention_residual_blocks_are_what_is_left() -> None:
    demask, whole = module(attention=False), module()
    demask.load_state_dict(
        {name: value for name, value in whole.state_dict().items() if not name.startswith("attentions.")}
    )
    silent = [whole.attentions[layer].out.weight for layer in range(3)]
    for weight in [*silent, *(whole.attentions[layer].out.bias for layer in range(3))]:
        weight.zero_()
    regions, positions = torch.randn(B, 5, CODE_DIM), torch.arange(5).expand(B, -1)
    torch.testing.assert_close(demask(regions, positions), whole(regions, positions))


@torch.no_grad()
def test_every_switch_changes_the_output() -> None:
    """A switch that does nothing would make table 7 a table of equal rows."""
    regions = torch.randn(B, 5, CODE_DIM)
    positions = torch.arange(5).expand(B, -1)
    published = module()(regions, positions)
    for switch in ({"direction_constraint": False}, {"mask_update": False}, {"renormalise": True}):
        assert not torch.allclose(module(**switch)(regions, positions), published, atol=1e-4), switch


@torch.no_grad()
def test_order_of_the_pairs_does_not_matter() -> None:
    demask = module()
    regions = torch.randn(1, 6, CODE_DIM)
    positions = torch.tensor([[9, 2, 15, 4, 0, 7]])
    order = positions[0].argsort()
    torch.testing.assert_close(demask(regions, positions), demask(regions[:, order], positions[:, order]))


def test_gradient_reaches_the_mask_token_only_if_something_is_dropped() -> None:
    demask = module()
    positions = torch.arange(16).expand(B, -1)
    demask(torch.randn(B, 16, CODE_DIM), positions).square().sum().backward()
    assert not demask.mask_token.grad.any()
    demask(torch.randn(B, 5, CODE_DIM), positions[:, :5]).square().sum().backward()
    assert demask.mask_token.grad.any()
