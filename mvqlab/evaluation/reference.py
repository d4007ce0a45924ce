"""Features of real images, computed once for a data set and an extractor, then kept on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from mvqlab.data import batches_in_order
from mvqlab.data.seeds import short_hash
from mvqlab.evaluation.extractors import FeatureExtractor
from mvqlab.evaluation.generation import features_of
from mvqlab.files import cache_folder, whole_file
from mvqlab.training.tokens import weights_hash


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
    the number of images and the extractor's weights. A file that cannot be read is made again; processes
    that want the same one wait for the first.
    """
    from filelock import FileLock

    n = min(n, len(dataset))
    folder = (cache or cache_folder()) / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    key = short_hash(data_hash, split, n, extractor.column, weights_hash(extractor))
    path = folder / f"{split}-{data_hash}-{extractor.column}-{key}.safetensors"
    with FileLock(f"{path}.lock"):
        kept = _read(path)
        if kept is None:
            batches = batches_in_order(dataset, batch_size, n)
            kept = torch.cat([features_of(extractor, batch.images, batch_size) for batch in batches])
            with whole_file(path) as temporary:
                save_file({"features": kept.contiguous()}, temporary)
    return kept


def _read(path: Path) -> Tensor | None:
    try:
        return load_file(path)["features"]
    except (FileNotFoundError, SafetensorError, OSError, KeyError):
        return None
