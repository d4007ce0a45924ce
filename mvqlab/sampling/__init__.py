"""Drawing: pairs from a transformer, images from pairs; filters, guidance, completion, a trace."""

from mvqlab.sampling.draw_pairs import (
    Samples,
    chooser_of,
    sample_images,
    sample_pairs,
    sample_pairs_uncached,
)

__all__ = [
    "Samples",
    "chooser_of",
    "sample_images",
    "sample_pairs",
    "sample_pairs_uncached",
]
