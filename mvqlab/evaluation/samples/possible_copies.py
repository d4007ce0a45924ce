"""How many generated images may be copies of training images: the columns of a card or a table."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.data import Splits
from mvqlab.data.dataset import PictureDataset
from mvqlab.data.pixels import from_uint8
from mvqlab.evaluation.samples.alterations import blurred
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.memorisation import Memorisation, memorisation, suspected_interval

N_SAMPLES = 500
RESAMPLES = 200
PIXELS = 16  # a side, that blurred images are compared at


def possible_copies(
    generated: Tensor, splits: Splits, extractor: FeatureExtractor, seed: int = 0
) -> dict[str, float]:
    """Of `generated` (m, 3, H, W), uint8 or in [-1, 1], the share that may be copies; see `memorisation`.

    suspected_<column>, with _low and _high, its 95 % interval: nearer to a training image than all but the
    nearest hundredth of held-out images, so that honest images have about 0.01; suspected_images: how many
    were looked at. Where training images are mirrored, their mirror images are searched, too.
    """
    return columns_of(nearest_in(generated, splits, extractor), extractor, seed)


def nearest_in(generated: Tensor, splits: Splits, extractor: FeatureExtractor) -> Memorisation:
    """`memorisation` of `generated` (m, 3, H, W), uint8 or in [-1, 1], among `training_images`."""
    return memorisation(
        features_of(extractor, generated, what="generated images"),
        features_of(extractor, training_images(splits), what="training images"),
        features_of(extractor, _images(splits.validation), what="held-out images"),
    )


def columns_of(found: Memorisation, extractor: FeatureExtractor, seed: int = 0) -> dict[str, float]:
    """The columns of `possible_copies` from what was found."""
    interval = suspected_interval(found, RESAMPLES, seed)
    name = f"suspected_{extractor.column}"
    return {
        name: interval.value,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        "suspected_images": len(found.nearness),
    }


class BlurredPixels(FeatureExtractor):
    """The pixels of blurred images themselves, 16 a side, in [-1, 1]: what a copy shares with its original.

    It owes nothing to what a network holds alike; but an image that was moved by a few pixels is another one.
    """

    def __init__(self) -> None:
        super().__init__(f"pixels (blurred, {PIXELS} x {PIXELS})", "pixels", 3 * PIXELS**2)

    def forward(self, images: Tensor) -> Tensor:
        soft = blurred(from_uint8(images))
        return F.adaptive_avg_pool2d(soft, PIXELS).flatten(1)


def training_images(splits: Splits) -> Tensor:
    """(n, 3, H, W) uint8: all training images, and where these are mirrored their mirror images."""
    images = _images(splits.train)
    return torch.cat([images, images.flip(-1)]) if splits.train.flip else images


def _images(dataset: PictureDataset) -> Tensor:
    """(n, 3, H, W) uint8."""
    pixels = [torch.from_numpy(dataset.remembered(index).pixels) for index in range(len(dataset))]
    return torch.stack(pixels)
