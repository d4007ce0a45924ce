"""The adaptive de-mask module: infer the dropped regions from the kept ones (section 3.1, equations 5 to 8).

Direction-constrained attention lets information flow from kept to dropped regions and not back:

    A = softmax(Q K^T / sqrt(d)),   then every key column j of A is multiplied by its trust B_j

B_0 is 1 at kept and 0.02 at dropped regions. After each layer B <- sqrt(B), the mask update: a region
that has been inferred is trusted more and more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import BackboneConfig, DemaskConfig
from mvqlab.models.backbone import ResidualBlock, SelfAttention


def scatter_regions(regions: Tensor, positions: Tensor, fill: Tensor, n_positions: int) -> Tensor:
    """Put `regions` (B, N, c) at `positions` (B, N) of L = `n_positions` places that hold `fill` (c).

    What is at position L, padding, is left out.
    """
    n_images, _, channels = regions.shape
    places = fill.to(regions.dtype).expand(n_images, n_positions + 1, channels)
    placed = places.scatter(1, positions.unsqueeze(-1).expand(-1, -1, channels), regions)
    return placed[:, :-1].contiguous()


def initial_trust(positions: Tensor, n_positions: int, at_dropped: float) -> Tensor:
    """B_0 (B, L): 1 at the kept `positions` (B, N), `at_dropped` elsewhere."""
    trust = torch.full((len(positions), n_positions + 1), at_dropped, device=positions.device)
    return trust.scatter(1, positions, 1.0)[:, :-1]


def update_trust(trust: Tensor) -> Tensor:
    """The mask update: B <- sqrt(B), which draws every trust towards 1."""
    return trust.sqrt()


class DirectionConstrainedAttention(SelfAttention):
    """Self-attention in which a region is heard as much as it is trusted.

    Scaling the key columns of the attention after the softmax is the same as scaling the rows of the
    values, softmax(QK^T) (B * V), so the fused kernel serves and no L x L matrix is ever stored.
    Rows then sum to less than one, as published. With `renormalise` they sum to one again, which is
    log B_j added to the logits.
    """

    def __init__(self, channels: int, groups: int = 32, renormalise: bool = False) -> None:
        super().__init__(channels, groups)
        self.renormalise = renormalise

    def forward(self, x: Tensor, trust: Tensor | None = None) -> Tensor:
        """Features (B, d, h, w) and trust (B, L) to features (B, d, h, w); without trust, plain attention."""
        query, key, value = self.project(x)
        bias = None
        if trust is not None and self.renormalise:
            n_places = trust.shape[1]
            bias = trust.log().to(query.dtype)[:, None, None, :].expand(-1, -1, n_places, -1)
        elif trust is not None:
            value = value * trust.to(value.dtype)[:, None, :, None]
        return self.add(x, F.scaled_dot_product_attention(query, key, value, attn_mask=bias))


class DemaskModule(nn.Module):
    """Quantised regions (B, N, n_z) at their positions to a full feature map (B, d, h, w)."""

    def __init__(self, config: DemaskConfig, backbone: BackboneConfig, code_dim: int, side: int) -> None:
        super().__init__()
        self.config, self.side = config, side
        d, groups = backbone.feature_dim, backbone.norm_groups
        self.mask_token = nn.Parameter(torch.empty(code_dim).uniform_(-1.0 / code_dim, 1.0 / code_dim))
        self.project = nn.Conv2d(code_dim, d, 1)
        self.conv_in = nn.Conv2d(d, d, 3, padding=1)
        self.residual_blocks = nn.ModuleList(
            ResidualBlock(d, d, groups, backbone.dropout) for _ in range(config.layers)
        )
        self.attentions = nn.ModuleList(
            DirectionConstrainedAttention(d, groups, config.renormalise) for _ in range(config.layers)
        )
        self.residual_block_out = ResidualBlock(d, d, groups, backbone.dropout)

    def forward(self, regions: Tensor, positions: Tensor) -> Tensor:
        """Infer the dropped regions.

        regions (B, N, n_z): quantised features. positions (B, N): where they belong.
        Returns features (B, d, h, w).
        """
        places = scatter_regions(regions, positions, self.mask_token, self.side**2)
        x = places.transpose(1, 2).unflatten(2, (self.side, self.side))
        x = self.conv_in(self.project(x))
        trust = self._initial_trust(positions)
        for residual_block, attention in zip(self.residual_blocks, self.attentions, strict=True):
            x = attention(residual_block(x), trust)
            if trust is not None and self.config.mask_update:
                trust = update_trust(trust)
        return self.residual_block_out(x)

    def _initial_trust(self, positions: Tensor) -> Tensor | None:
        if not self.config.direction_constraint:
            return None
        return initial_trust(positions, self.side**2, self.config.initial_trust)
