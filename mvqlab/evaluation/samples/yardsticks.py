"""What distances are to be read beside: those of other real images, as they are and made worse.

A distance has no zero to stand on: two sets of real images have one, too, and how much it is depends on the
extractor and on how many images there are. So real images that nothing was compared with take the samples'
place:

    real             as they are: what perfect samples would have
    after stage 1    restored by a model: what a perfect transformer would have
    greyed, hue turned, blurred, shuffled       made worse in one way, see `alterations`

    held_out = yardstick_images(whole_splits(config.data).validation, n_real=512, n_judged=256)
    yardsticks(held_out, extractors)                # a row a yardstick, columns as in a results table
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from mvqlab.data import Batch
from mvqlab.data.dataset import PictureDataset, collate
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.reconstruction import collect
from mvqlab.evaluation.samples.alterations import blurred, greyed, hue_turned, shuffled
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.judge import judge_columns
from mvqlab.models.mqvae import TokenModel

REAL, RESTORED = "real", "after stage 1"
DEGREES = 60.0  # that hues are turned by: red to yellow
BATCH_SIZE = 64


class HeldOutImages(NamedTuple):
    """Real images, none of them in both parts.

    real (n, 3, H, W) uint8: to judge against. others: batches of those that are judged.
    """

    real: Tensor
    others: list[Batch]


def yardstick_images(held_out: PictureDataset, n_real: int, n_judged: int) -> HeldOutImages:
    """The first `n_real` images of `held_out` and the `n_judged` after them; of fewer both get a half."""
    size = len(held_out)
    if size < n_real + n_judged:
        n_real = min(n_real, size // 2)
        n_judged = min(n_judged, size - n_real)
    real = torch.stack([torch.from_numpy(held_out.remembered(index).pixels) for index in range(n_real)])
    numbers = range(n_real, n_real + n_judged)
    batches = [numbers[first : first + BATCH_SIZE] for first in range(0, n_judged, BATCH_SIZE)]
    return HeldOutImages(real, [collate([held_out[index] for index in batch]) for batch in batches])


def judged_images(
    held_out: HeldOutImages, model: TokenModel | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """The yardsticks' images by name, (m, 3, H, W) uint8 each; with a `model` also those that it restored."""
    other = torch.cat([batch.images for batch in held_out.others])
    made = {
        REAL: other,
        "greyed": greyed(other),
        "hue turned": hue_turned(other, DEGREES),
        "blurred": blurred(other),
        "shuffled": shuffled(other, torch.Generator().manual_seed(seed)),
    }
    images = {name: to_uint8(of_name) for name, of_name in made.items()}
    if model is not None:
        images[RESTORED] = collect(model, held_out.others, seed).reconstructions
    return images


def yardsticks(
    held_out: HeldOutImages,
    extractors: Sequence[FeatureExtractor],
    model: TokenModel | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Every figure of every yardstick: a row each, named in `yardstick`; columns as `judge_columns` has them.

    With real_images, generated_images: how many were judged against, and how many were judged. Samples
    compare with these only at equal numbers of both.
    """
    images = judged_images(held_out, model, seed)
    rows: dict[str, dict[str, Any]] = {name: {"yardstick": name} for name in images}
    for extractor in extractors:
        real = features_of(extractor, held_out.real, what="real images")
        for name, of_name in images.items():
            features = features_of(extractor, of_name, what=name)
            rows[name] |= judge_columns(real, features, extractor, 0, seed)
            rows[name] |= {"real_images": len(real), "generated_images": len(features)}
    return pd.DataFrame(list(rows.values()))
