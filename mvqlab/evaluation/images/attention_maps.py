"""The de-mask module's attention as matrices that one can look at.

The layers themselves never store an L x L matrix (see `models.demasking`). Here it is computed in full:

    A = softmax(Q K^T / sqrt(d)), then every key column j of A times its trust B_j      (section 3.1)

so that A @ V is what the fused layer gives, to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mvqlab.models.backbone import SelfAttention
from mvqlab.models.demasking import (
    DemaskModule,
    DirectionConstrainedAttention,
    update_trust,
)


class LayerTrace(NamedTuple):
    """One layer of a de-mask module at work.

    before, after (B, d, h, w): features that enter its attention, and that leave it. softmax (B, L, L):
    row i says how much place i would listen to every place j, rows sum to one. attention (B, L, L): the
    same after trust, which is what the values are summed with. trust (B, L): B_j, ones where nothing is
    constrained.
    """

    before: Tensor
    softmax: Tensor
    trust: Tensor
    attention: Tensor
    after: Tensor


def softmax_matrix(layer: SelfAttention, x: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)), (B, L, L), of features (B, d, h, w): queries in rows, keys in columns."""
    query, key, _ = layer.project(x)
    logits = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return logits.softmax(dim=-1).squeeze(1)


def attention_matrix(layer: DirectionConstrainedAttention, x: Tensor, trust: Tensor | None = None) -> Tensor:
    """What `layer` sums the values with, (B, L, L), for features (B, d, h, w) and trust (B, L).

    The key columns of the softmax are multiplied by the trust; rows are divided by their sums only if the
    layer renormalises. Without trust, plain attention.
    """
    matrix = softmax_matrix(layer, x)
    if trust is None:
        return matrix
    matrix = matrix * trust.unsqueeze(1)
    return matrix / matrix.sum(dim=-1, keepdim=True) if layer.renormalise else matrix


@torch.no_grad()
def trace_demask(module: DemaskModule, regions: Tensor, positions: Tensor) -> list[LayerTrace]:
    """Run `module` on `regions` (B, N, n_z) at `positions` (B, N), a `LayerTrace` for each of its layers.

    The module's own `residual_block_out` of the last trace's `after` is what the module gives. Raises
    ValueError for a module without attention.
    """
    if not module.attentions:
        raise ValueError(
            "this de-mask module has no attention (demask.attention, demask.layers): no layer to trace"
        )
    x, trust = module.enter(regions, positions), module.first_trust(positions)  # (B, d, h, w), (B, L)
    if trust is None:
        trust = torch.ones(len(positions), module.side**2, device=positions.device)
    traces = []
    layer: Any  # of a ModuleList, whose hints do not tell of what
    for residual_block, layer in zip(module.residual_blocks, module.attentions, strict=True):
        before = residual_block(x)
        matrix = attention_matrix(layer, before, trust)
        x = layer.add(before, matrix.unsqueeze(1) @ layer.project(before)[2])
        traces.append(LayerTrace(before, softmax_matrix(layer, before), trust, matrix, x))
        if module.mask_update:
            trust = update_trust(trust)
    return traces


def share_on(attention: Tensor, is_member: Tensor) -> Tensor:
    """Which share of each row of `attention` (B, L, L) lies on the places of `is_member` (B, L): (B, L).

    With `is_kept` for members, uniform attention gives N / L. Rows need not sum to one; nan where one is 0.
    """
    return (attention * is_member.unsqueeze(1)).sum(dim=-1) / attention.sum(dim=-1)
