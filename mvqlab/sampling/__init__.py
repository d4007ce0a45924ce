"""Drawing: pairs from a transformer, images from pairs; filters, guidance, completion, a trace."""

from mvqlab.sampling.chooser import Chooser
from mvqlab.sampling.draw_images import Samples, sample_images
from mvqlab.sampling.draw_pairs import sample_pairs
from mvqlab.sampling.plain import sample_plainly

__all__ = ["Chooser", "Samples", "sample_images", "sample_pairs", "sample_plainly"]
