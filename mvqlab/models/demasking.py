"""The adaptive de-mask module: infer the dropped regions from the kept ones (section 3.1, equations 5 to 8).

Direction-constrained attention lets information flow from kept to dropped regions and not back:

    A = softmax(Q K^T / sqrt(d)),   then every key column j of A is multiplied by its trust B_j

B_0 is 1 at kept and 0.02 at dropped regions. After each layer B <- sqrt(B), the mask update: a region
that has been inferred is trusted more and more.

Symbols: B images; N regions kept of L = h * w, numbered row by row; n_z the dimension of a code, d the
channels of a feature. Polarity: trust is 1 where a region was kept, and less where it was dropped.
"""

from __future__ import annotations

from itertools import zip_longest

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import BackboneConfig, DemaskConfig
from mvqlab.models.backbone import ResidualBlock, SelfAttention
from mvqlab.models.pairs import is_among


def scatter_regions(
    regions: Float[Tensor, "B N c"],
    positions: Int[Tensor, "B N"],
    fill: Float[Tensor, " c"],
    n_positions: int,
) -> Float[Tensor, "B L c"]:
    """Put `regions` at `positions` of L = `n_positions` places that hold `fill` (section 3.1, equation 5).

    What is at position L, padding, is left out: it lands in one place more, which is cut off again.
    """
    n_images, _, channels = regions.shape
    places = fill.to(regions.dtype).expand(n_images, n_positions + 1, channels)  # (c,) -> (B, L + 1, c)
    index = positions.unsqueeze(-1).expand(-1, -1, channels)  # (B, N) -> (B, N, 1) -> (B, N, c)
    placed = places.scatter(1, index, regions)  # (B, L + 1, c)
    return placed[:, :-1].contiguous()  # (B, L + 1, c) -> (B, L, c)


def on_grid(places: Float[Tensor, "B L c"], side: int) -> Float[Tensor, "B c h w"]:
    """Vectors of L = h * w places as a map, h = w = `side`."""
    return places.mT.unflatten(2, (side, side))  # (B, L, c) -> (B, c, L) -> (B, c, h, w)


def initial_trust(positions: Int[Tensor, "B N"], n_positions: int, at_dropped: float) -> Float[Tensor, "B L"]:
    """B_0: 1 at the kept `positions`, `at_dropped` elsewhere; a position of L is padding."""
    return torch.where(is_among(positions, n_positions), 1.0, at_dropped)


def update_trust(trust: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
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

    def forward(
        self, x: Float[Tensor, "B d h w"], trust: Float[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B d h w"]:
        """`x` and what its places take from one another, each heard by its `trust`; without it, all alike."""
        query, key, value = self.project(x)  # (B, 1, L, d) each: one head
        bias = None
        if trust is not None and self.renormalise:
            n_places = trust.shape[1]
            log_trust = trust.log().to(query.dtype)  # (B, L)
            columns = log_trust[:, None, None, :]  # log B_j of key j: (B, L) -> (B, 1, 1, L)
            bias = columns.expand(-1, -1, n_places, -1)  # for every query alike: (B, 1, L, L)
        elif trust is not None:
            value = value * trust.to(value.dtype)[:, None, :, None]  # B_j V_j: (B, L) -> (B, 1, L, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, 1, L, d)
        return self.add(x, attended)


class DemaskModule(nn.Module):
    """Quantised regions (B, N, n_z) at their positions to a full feature map (B, d, h, w), section 3.1.

    side: h = w of the grid. trust_in_dropped: B_0 where a region was dropped; None: no direction constraint,
    attention is plain. mask_update: whether trust grows from layer to layer. Without `attention`, a control,
    layers are residual blocks alone.
    """

    def __init__(self, config: DemaskConfig, backbone: BackboneConfig, code_dim: int, side: int) -> None:
        super().__init__()
        self.side, self.mask_update = side, config.mask_update
        self.trust_in_dropped = config.initial_trust if config.direction_constraint else None
        d, groups = backbone.feature_dim, backbone.norm_groups
        self.mask_token = nn.Parameter(torch.empty(code_dim).uniform_(-1.0 / code_dim, 1.0 / code_dim))
        self.project = nn.Conv2d(code_dim, d, 1)
        self.conv_in = nn.Conv2d(d, d, 3, padding=1)
        self.residual_blocks = nn.ModuleList(
            ResidualBlock(d, d, groups, backbone.dropout) for _ in range(config.layers)
        )
        self.attentions = nn.ModuleList(
            DirectionConstrainedAttention(d, groups, config.renormalise)
            for _ in range(config.layers if config.attention else 0)
        )
        self.residual_block_out = ResidualBlock(d, d, groups, backbone.dropout)

    def forward(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B d h w"]:
        """Infer the dropped regions from the quantised `regions`, which belong at `positions`."""
        x = self.enter(regions, positions)  # (B, d, h, w)
        trust = self.first_trust(positions)  # (B, L)
        for residual_block, attention in zip_longest(self.residual_blocks, self.attentions):
            x = residual_block(x)  # (B, d, h, w)
            if attention is not None:
                x = attention(x, trust)  # (B, d, h, w)
            if trust is not None and self.mask_update:
                trust = update_trust(trust)
        return self.residual_block_out(x)

    def enter(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B d h w"]:
        """What the first layer reads: `regions` at their `positions`, the mask token elsewhere."""
        places = scatter_regions(regions, positions, self.mask_token, self.side**2)  # (B, L, n_z)
        return self.conv_in(self.project(on_grid(places, self.side)))

    def first_trust(self, positions: Int[Tensor, "B N"]) -> Float[Tensor, "B L"] | None:
        """B_0, what the first layer trusts: see `initial_trust`. None without direction constraint."""
        if self.trust_in_dropped is None:
            return None
        return initial_trust(positions, self.side**2, self.trust_in_dropped)


class NoDemask(nn.Module):
    """A control: kept regions (B, N, n_z) at their positions and the mask token elsewhere, nothing inferred.

    The decoder's own first layers follow, as in the plain VQ model, which this is where nothing is dropped.
    """

    def __init__(self, backbone: BackboneConfig, code_dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.mask_token = nn.Parameter(torch.empty(code_dim).uniform_(-1.0 / code_dim, 1.0 / code_dim))
        self.project = nn.Conv2d(code_dim, backbone.feature_dim, 1)

    def forward(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B d h w"]:
        """The quantised `regions` at their `positions`, projected."""
        places = scatter_regions(regions, positions, self.mask_token, self.side**2)  # (B, L, n_z)
        return self.project(on_grid(places, self.side))  # (B, d, h, w)


def build_demask(
    config: DemaskConfig, backbone: BackboneConfig, code_dim: int, side: int
) -> DemaskModule | NoDemask:
    """What `config.kind` names, for a grid of `side` * `side`."""
    if config.kind == "none":
        return NoDemask(backbone, code_dim, side)
    return DemaskModule(config, backbone, code_dim, side)
