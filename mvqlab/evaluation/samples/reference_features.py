"""Features of real images, computed once for a data set and an extractor, then kept on disk."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from mvqlab.data import batches_in_order
from mvqlab.data.seeds import short_hash
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.support.files import cache_folder, whole_file, writable_folder
from mvqlab.support.progress import Progress
from mvqlab.training.tokens import weights_hash


class ReferenceCacheWarning(UserWarning):
    """Features of real images cannot be kept, and are computed again next time."""


def reference_features(
    dataset: Dataset,
    data_hash: str,
    split: str,
    extractor: FeatureExtractor,
    n: int,
    *,
    batch_size: int = 64,
    cache: Path | None = None,
) -> Tensor:
    """Features (n, F) of the first `n` images of `dataset`, or of all it has; float64, on the CPU.

    Kept in `cache` (default: $MVQLAB_CACHE, else ~/.cache/mvqlab) under the data's hash, the split's name,
    the number of images and the extractor's name and weights. A file that cannot be read is made again;
    processes that want the same one wait for the first. Where nothing can be kept a ReferenceCacheWarning
    says so: training may lie behind whoever asks.
    """
    from filelock import FileLock

    n = min(n, len(dataset))
    try:
        folder = writable_folder((cache or cache_folder()) / "reference", "features of real images")
    except OSError as error:
        warnings.warn(str(error), ReferenceCacheWarning, stacklevel=2)
        return _compute(dataset, extractor, n, batch_size)
    key = short_hash(data_hash, split, n, extractor.column, extractor.name, weights_hash(extractor))
    path = folder / f"{split}-{data_hash}-{extractor.column}-{key}.safetensors"
    with FileLock(f"{path}.lock"):
        kept = _read(path)
        if kept is None:
            kept = _compute(dataset, extractor, n, batch_size)
            _keep(kept, path)
    return kept


def _compute(dataset: Dataset, extractor: FeatureExtractor, n: int, batch_size: int) -> Tensor:
    rows = []
    with Progress("features of real images", -(-n // batch_size)) as progress:
        for batch in batches_in_order(dataset, batch_size, n):
            rows.append(features_of(extractor, batch.images, batch_size, "real images"))
            progress.advance()
    return torch.cat(rows).contiguous()


def _keep(features: Tensor, path: Path) -> None:
    try:
        with whole_file(path) as temporary:
            save_file({"features": features}, temporary)
    except (OSError, SafetensorError) as error:  # a full disk
        warnings.warn(
            f"features of real images are not kept in {path}: {error}", ReferenceCacheWarning, stacklevel=3
        )


def _read(path: Path) -> Tensor | None:
    try:
        features = load_file(path)["features"]
    except (FileNotFoundError, SafetensorError, OSError, KeyError):
        return None
    return features if features.isfinite().all() else None
