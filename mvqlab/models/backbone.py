"""The VQGAN encoder and decoder that both stage-1 models share (Esser et al. 2021; section 3.1).

images (B, 3, H, W) --Encoder--> features (B, d, h, w)        h = H / f
features (B, d, h, w) --Decoder--> images (B, 3, H, W)

Symbols: B images of H x W pixels; f the down-sampling; d features in each of L = h * w regions; c channels
of a map inside.

Its rival for small machines stands in `patch_backbone`.
"""

from __future__ import annotations

from math import gcd

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mvqlab.config import BackboneConfig


def normalisation(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm over (B, channels, h, w) with `groups` groups, or the most that divide `channels`."""
    return nn.GroupNorm(gcd(groups, channels), channels, eps=1e-6)


class ResidualBranch(nn.Module):
    """A layer whose output is its input plus what its branch makes of it."""

    def zero_init(self) -> None:
        """Start the branch's last weight at zero, so that it adds no more than that layer's bias."""
        raise NotImplementedError


class ResidualBlock(ResidualBranch):
    """Two normalised 3x3 convolutions beside a shortcut: (B, c_in, h, w) -> (B, c_out, h, w)."""

    def __init__(self, c_in: int, c_out: int, groups: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = normalisation(c_in, groups)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = normalisation(c_out, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Float[Tensor, "B c_in h w"]) -> Float[Tensor, "B c_out h w"]:
        """`x` through the shortcut, plus what the two convolutions make of it (He et al. 2016)."""
        y = self.conv1(F.silu(self.norm1(x)))  # (B, c_out, h, w)
        y = self.conv2(self.dropout(F.silu(self.norm2(y))))
        return self.shortcut(x) + y

    def zero_init(self) -> None:
        """As in `ResidualBranch`."""
        nn.init.zeros_(self.conv2.weight)


class SelfAttention(ResidualBranch):
    """One-head self-attention over the L = h * w places of a feature map, as a residual layer."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = normalisation(channels, groups)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """`x`, plus at each place the values of all places, weighed by softmax(Q K^T / sqrt(c))."""
        query, key, value = self.project(x)
        return self.add(x, F.scaled_dot_product_attention(query, key, value))

    def project(
        self, x: Float[Tensor, "B c h w"]
    ) -> tuple[Float[Tensor, "B 1 L c"], Float[Tensor, "B 1 L c"], Float[Tensor, "B 1 L c"]]:
        """Queries, keys and values of the normalised map, with an axis for the one head."""
        places = self.norm(x).flatten(2).transpose(1, 2)  # (B, c, h, w) -> (B, c, L) -> (B, L, c)
        of_head = self.query_key_value(places).unsqueeze(1)  # (B, L, 3 c) -> (B, 1, L, 3 c)
        query, key, value = of_head.chunk(3, dim=-1)  # (B, 1, L, c) each
        return query, key, value

    def add(
        self, x: Float[Tensor, "B c h w"], attended: Float[Tensor, "B 1 L c"]
    ) -> Float[Tensor, "B c h w"]:
        """Put the `attended` values back on the map and add them to it."""
        places = self.out(attended.squeeze(1))  # (B, 1, L, c) -> (B, L, c)
        return x + places.transpose(1, 2).reshape(x.shape)  # (B, L, c) -> (B, c, L) -> (B, c, h, w)

    def zero_init(self) -> None:
        """As in `ResidualBranch`."""
        nn.init.zeros_(self.out.weight)


class Downsample(nn.Module):
    """Halve the side with a stride-2 convolution, padded right and below only, as VQGAN does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h//2 w//2"]:
        """Half of the side of `x`, which must be even."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # (B, c, h + 1, w + 1) -> (B, c, h / 2, w / 2)


class Upsample(nn.Module):
    """Double the side: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c 2*h 2*w"]:
        """Twice the side of `x`."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # (B, c, 2 h, 2 w)


def zero_init_branches(model: nn.Module) -> None:
    """Start the last weight of every residual branch at zero, so that at first the trunk is linear.

    With torch's default start, branches drown what the trunk carries: a small model then takes thousands
    of steps to find out that images have colours.
    """
    for module in model.modules():
        if isinstance(module, ResidualBranch):
            module.zero_init()


class Middle(nn.Sequential):
    """Residual block, self-attention, residual block at the grid's resolution."""

    def __init__(self, channels: int, config: BackboneConfig) -> None:
        groups = config.norm_groups
        super().__init__(
            ResidualBlock(channels, channels, groups, config.dropout),
            SelfAttention(channels, groups),
            ResidualBlock(channels, channels, groups, config.dropout),
        )


def _level(c_in: int, c_out: int, n_blocks: int, side: int, config: BackboneConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for block in range(n_blocks):
        layers.append(ResidualBlock(c_in if block == 0 else c_out, c_out, config.norm_groups, config.dropout))
        if side in config.attention_resolutions:
            layers.append(SelfAttention(c_out, config.norm_groups))
    return layers


class Encoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to features (B, d, h, w)."""

    def __init__(self, config: BackboneConfig, resolution: int) -> None:
        super().__init__()
        channels, side = config.base_channels, resolution
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.levels = nn.ModuleList()
        for level, multiplier in enumerate(config.channel_multipliers):
            width = config.base_channels * multiplier
            layers = _level(channels, width, config.residual_blocks, side, config)
            channels = width
            if level < len(config.channel_multipliers) - 1:
                layers.append(Downsample(channels))
                side //= 2
            self.levels.append(nn.Sequential(*layers))
        self.middle = Middle(channels, config)
        self.norm_out = normalisation(channels, config.norm_groups)
        self.conv_out = nn.Conv2d(channels, config.feature_dim, 3, padding=1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d h w"]:
        """Features of `images` in [-1, 1] (VQGAN's encoder, middle block included)."""
        x = self.conv_in(images)  # (B, c, H, W)
        for level in self.levels:
            x = level(x)  # all but the last level halve the side: (B, c, h, w) in the end
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """Features (B, d, h, w) to images (B, 3, H, W).

    `has_head` is the VQGAN decoder's own first convolution and middle block. MQ-VAE leaves them out:
    its de-mask module stands there.
    """

    def __init__(self, config: BackboneConfig, resolution: int, has_head: bool) -> None:
        super().__init__()
        top = config.base_channels * config.channel_multipliers[-1]
        self.head: nn.Module = nn.Identity()
        if has_head:
            self.head = nn.Sequential(nn.Conv2d(config.feature_dim, top, 3, padding=1), Middle(top, config))
        channels = top if has_head else config.feature_dim
        side = resolution // config.downsampling
        self.levels = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(config.channel_multipliers))):
            width = config.base_channels * multiplier
            layers = _level(channels, width, config.residual_blocks + 1, side, config)
            channels = width
            if level > 0:
                layers.append(Upsample(channels))
                side *= 2
            self.levels.append(nn.Sequential(*layers))
        self.norm_out = normalisation(channels, config.norm_groups)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    @property
    def last_layer(self) -> Float[Tensor, "c_out c 3 3"]:
        """The weight at which the adversarial loss is balanced against the reconstruction's."""
        return self.conv_out.weight

    def forward(self, features: Float[Tensor, "B d h w"]) -> Float[Tensor, "B 3 H W"]:
        """Images, not clipped, of `features`."""
        x = self.head(features)  # (B, c, h, w)
        for level in self.levels:
            x = level(x)  # all but the last level double the side: (B, c, H, W) in the end
        return self.conv_out(F.silu(self.norm_out(x)))
