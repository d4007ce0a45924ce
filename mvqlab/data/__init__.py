"""Images to learn from: drawn shapes, emoji, photographs, garments, sets of torchvision, your own folders.

splits = build_splits(DataConfig(name="shapes", resolution=32))
splits.train[0]["image"]                          # (3, 32, 32), in [-1, 1]
next(batches(splits.train, batch_size=16, seed=0))  # the first training batch
"""

from mvqlab.data.dataset import Batch, DataError, PictureDataset, Sample, Splits
from mvqlab.data.loading import batch_indices, batches, batches_in_order
from mvqlab.data.splits import build_splits, class_names, credit_of

__all__ = [
    "Batch",
    "DataError",
    "PictureDataset",
    "Sample",
    "Splits",
    "batch_indices",
    "batches",
    "batches_in_order",
    "build_splits",
    "class_names",
    "credit_of",
]
