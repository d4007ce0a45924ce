"""An encoder and a decoder that work at the grid's side alone: this lab's backbone for small machines.

images (B, 3, H, W) --patches--> (B, 3 p^2, h, w) --PatchEncoder--> features (B, d, h, w)      h = H / p
features (B, d, h, w) --PatchDecoder--> (B, 3 p^2, h, w) --pixels--> images (B, 3, H, W)

VQGAN's backbone spends most of its operations at full resolution, where a small model can afford a few
channels only; all colours have to pass through those. Here a patch of p x p pixels is one place with all
its 3 p^2 numbers from the start (space to depth: `F.pixel_unshuffle`), so the same operations buy many
channels. Where VQGAN's needs thousands of steps to find the hues, this one needs hundreds.

Symbols: B images of H x W pixels; p the side of a patch; d features in each of h * w regions; c channels of a
map inside (`base_channels`).
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mvqlab.config import BackboneConfig
from mvqlab.config.words import Padding
from mvqlab.models.backbone import Middle, ResidualBlock, ResidualBranch, SelfAttention, normalisation


class DepthwiseBlock(ResidualBranch):
    """(B, c, h, w) -> (B, c, h, w): look around channel by channel, then mix channels place by place.

    ConvNeXt's block (Liu et al. 2022): a depth-wise 7x7 convolution, then two 1x1 ones with 4 c channels
    between them. It sees three regions far where a 3x3 convolution sees one, at less than half the
    parameters of a `ResidualBlock`.
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = normalisation(channels, groups=1)
        self.conv1 = nn.Conv2d(channels, 4 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """`x`, plus what the convolutions find in it."""
        y = self.norm(self.depthwise(x))  # (B, c, h, w)
        return x + self.conv2(self.dropout(F.gelu(self.conv1(y))))  # (B, 4 c, h, w) inside

    def zero_init(self) -> None:
        """As in `ResidualBranch`."""
        nn.init.zeros_(self.conv2.weight)


def _blocks(n_blocks: int, side: int, config: BackboneConfig) -> nn.Sequential:
    """`n_blocks` blocks on maps (B, width, side, side), each with attention behind it where asked."""
    width, groups = config.base_channels, config.norm_groups
    layers: list[nn.Module] = []
    for _ in range(n_blocks):
        if config.block == "depthwise":
            layers.append(DepthwiseBlock(width, config.dropout))
        else:
            layers.append(ResidualBlock(width, width, groups, config.dropout))
        if side in config.attention_resolutions:
            layers.append(SelfAttention(width, groups))
    return nn.Sequential(*layers)


def _pad(model: nn.Module, mode: Padding) -> None:
    """Let all convolutions of `model` that look around see `mode` ("zeros" or "replicate") beyond the border.

    Zeros tell a convolution where the border is, and a grid of 16 x 16 regions has much border: flat ground
    gets a dark frame and a pattern of patches.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.padding_mode = mode


class PatchEncoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to features (B, d, h, w)."""

    def __init__(self, config: BackboneConfig, resolution: int) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        width, side = config.base_channels, resolution // config.patch_size
        self.conv_in = nn.Conv2d(3 * config.patch_size**2, width, 3, padding=1)
        self.blocks = _blocks(config.residual_blocks, side, config)
        self.conv_out = nn.Conv2d(width, config.feature_dim, 1)
        _pad(self, config.padding)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d h w"]:
        """Features of `images` in [-1, 1]."""
        patches = F.pixel_unshuffle(images, self.patch_size)  # (B, 3, H, W) -> (B, 3 p^2, h, w)
        return self.conv_out(self.blocks(self.conv_in(patches)))  # (B, d, h, w)


class PatchDecoder(nn.Module):
    """Features (B, d, h, w) to images (B, 3, H, W).

    `has_head` is the middle block that VQGAN's decoder begins with, too. MQ-VAE leaves it out: its de-mask
    module stands there.
    """

    def __init__(self, config: BackboneConfig, resolution: int, has_head: bool) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        width, side = config.base_channels, resolution // config.patch_size
        self.head = Middle(config.feature_dim, config) if has_head else nn.Identity()
        self.conv_in = nn.Conv2d(config.feature_dim, width, 3, padding=1)
        self.blocks = _blocks(config.residual_blocks + 1, side, config)
        self.conv_out = nn.Conv2d(width, 3 * config.patch_size**2, 3, padding=1)
        _pad(self, config.padding)

    @property
    def last_layer(self) -> Float[Tensor, "c_out c 3 3"]:
        """The weight at which the adversarial loss is balanced against the reconstruction's."""
        return self.conv_out.weight

    def forward(self, features: Float[Tensor, "B d h w"]) -> Float[Tensor, "B 3 H W"]:
        """Images, not clipped, of `features`."""
        x = self.blocks(self.conv_in(self.head(features)))  # (B, c, h, w)
        return F.pixel_shuffle(self.conv_out(x), self.patch_size)  # (B, 3 p^2, h, w) -> (B, 3, H, W)
