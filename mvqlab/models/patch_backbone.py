"""An encoder and a decoder that work at the grid's side alone: this lab's backbone for small machines.

images (B, 3, H, W) --patches--> (B, 3 p^2, h, w) --PatchEncoder--> features (B, d, h, w)      h = H / p
features (B, d, h, w) --PatchDecoder--> (B, 3 p^2, h, w) --pixels--> images (B, 3, H, W)

VQGAN's backbone spends most of its operations at full resolution, where a small model can afford a few
channels only; all colours have to pass through those. Here a patch of p x p pixels is one place with all
its 3 p^2 numbers from the start (space to depth: `F.pixel_unshuffle`), so the same operations buy many
channels. Where VQGAN's needs thousands of steps to find the hues, this one needs hundreds.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import BackboneConfig
from mvqlab.models.backbone import Middle, residual_level


class PatchEncoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to features (B, d, h, w)."""

    def __init__(self, config: BackboneConfig, resolution: int) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        width, side = config.base_channels, resolution // config.patch_size
        self.conv_in = nn.Conv2d(3 * config.patch_size**2, width, 3, padding=1)
        self.blocks = nn.Sequential(*residual_level(width, width, config.residual_blocks, side, config))
        self.conv_out = nn.Conv2d(width, config.feature_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
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
        self.blocks = nn.Sequential(*residual_level(width, width, config.residual_blocks + 1, side, config))
        self.conv_out = nn.Conv2d(width, 3 * config.patch_size**2, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the adversarial loss is balanced against the reconstruction's."""
        return self.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        x = self.blocks(self.conv_in(self.head(features)))  # (B, width, h, w)
        return F.pixel_shuffle(self.conv_out(x), self.patch_size)  # (B, 3 p^2, h, w) -> (B, 3, H, W)
