"""Features of real images, computed once for a data set and an extractor, then kept on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvqlab.data import PictureDataset, batches_in_order
from mvqlab.data.seeds import short_hash
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.support.disk_cache import Place, made_once
from mvqlab.support.finite import check_finite
from mvqlab.support.progress import Progress
from mvqlab.training.tokens import weights_hash


def reference_features(
    dataset: PictureDataset,
    data_hash: str,
    split: str,
    extractor: FeatureExtractor,
    n: int,
    *,
    batch_size: int = 64,
    cache: Path | None = None,
) -> Tensor:
    """Features (n, F) of the first `n` images of `dataset`, or of all it has; float64, on the CPU.

    Kept in `cache` (see `disk_cache`) under the data's hash, the split's name, the number of images and the
    extractor's name and weights.
    """
    n = min(n, len(dataset))
    key = short_hash(data_hash, split, n, extractor.column, extractor.name, weights_hash(extractor))
    name = f"{split}-{data_hash}-{extractor.column}-{key}.safetensors"
    return made_once(
        Place(name, "features of real images", "reference", cache),
        lambda: _compute(dataset, extractor, n, batch_size),
        _read,
        lambda features, path: save_file({"features": features}, path),
    )


def _compute(dataset: PictureDataset, extractor: FeatureExtractor, n: int, batch_size: int) -> Tensor:
    rows = []
    with Progress("features of real images", -(-n // batch_size)) as progress:
        for batch in batches_in_order(dataset, batch_size, n):
            rows.append(features_of(extractor, batch.images, batch_size, "real images"))
            progress.advance()
    return torch.cat(rows).contiguous()


def _read(path: Path) -> Tensor:
    features = load_file(path)["features"]
    check_finite("features of real images", features)
    return features
