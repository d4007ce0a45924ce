"""The `efficientnet` extractor: features of a network that learned from photographs of a thousand kinds.

EfficientNet-Lite0 (Tan and Le 2019), whose ImageNet weights come in a package and need no download at first
use. It has seen nothing of the data that it judges, so its figures owe nothing to our training; but it
knows photographs, and drawings and small images are strange to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.support import pretrained

SIDE = 224  # pixels that it learned from
AT_ONCE = 8  # images: what more of them hold between two layers, no processor's cache holds
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels


class EfficientNetExtractor(FeatureExtractor):
    """EfficientNet-Lite0's last convolution, averaged over the image: 1280 features.

    Images are scaled to 224 x 224 pixels, small ones up, bicubic, and large ones down, antialiased: of what
    32 pixels show it sees soft edges, as in a photograph that was enlarged.

    Raises MissingWeightsError if the packages are not installed.
    """

    def __init__(self) -> None:
        name = f"efficientnet-lite0 (ImageNet weights, 1280 features, images scaled to {SIDE}px)"
        super().__init__(name, "efficientnet", 1280)
        file = pretrained.efficientnet()
        weights = pretrained.load(file)
        from efficientnet_lite_pytorch import EfficientNet

        with torch.random.fork_rng(devices=[]):
            self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(weights)
        # channels side by side, as a processor reads them for convolutions of single channels
        self.network.to(memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self._features(some) for some in images.split(AT_ONCE)])

    def _features(self, images: Tensor) -> Tensor:
        scaled = F.interpolate(images.float() / 255.0, (SIDE, SIDE), mode="bicubic", antialias=True)
        mean, deviation = (scaled.new_tensor(channels)[:, None, None] for channels in (MEAN, DEVIATION))
        standardised = (scaled.clamp(0.0, 1.0) - mean) / deviation
        return self.network.extract_features(standardised).mean(dim=(2, 3))
