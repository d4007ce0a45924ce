"""The PatchGAN discriminator of VQGAN (Isola et al. 2017): real or made, patch by patch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mvqlab.config import DiscriminatorConfig


class PatchDiscriminator(nn.Sequential):
    """Images (B, 3, H, W) to one logit a patch, (B, 1, h, w); high means real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        channels = config.base_channels
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, config.layers + 1):
            width = config.base_channels * min(2**layer, 8)
            stride = 2 if layer < config.layers else 1
            layers += [
                nn.Conv2d(channels, width, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, 1, 4, padding=1))
        self.apply(_initialise)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 h w"]:
        """Logits, one for each of h x w patches that overlap, of `images` in [-1, 1]."""
        return super().forward(images)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
