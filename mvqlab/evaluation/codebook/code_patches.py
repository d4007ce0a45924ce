"""What a code stands for: the pieces of images that took it, and how much of them lies on an object."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mvqlab.data.pixels import to_uint8
from mvqlab.models.pairs import Pairs
from mvqlab.models.scorers import region_coverage


def code_patches(images: Tensor, pairs: Pairs, code: int, n: int = 6, context: int = 1) -> NDArray[np.uint8]:
    """Pieces (m, s, s, 3) of `images` (B, 3, H, W), bytes or in [-1, 1], at regions that took `code`.

    The region lies in the middle, with `context` regions of its surroundings on every side, so
    s = (1 + 2 * context) * f; beyond the edge of an image its border is repeated. Of all regions that took
    the code, m of them, at most `n` are shown, evenly spread over the images in their order.
    """
    rows, places = (pairs.codes == code).nonzero(as_tuple=True)
    chosen = torch.linspace(0, max(0, len(rows) - 1), min(n, len(rows))).round().long()
    return cut_regions(
        images, rows[chosen], pairs.positions[rows[chosen], places[chosen]], pairs.side, context
    )


def cut_regions(
    images: Tensor, rows: Tensor, positions: Tensor, side: int, context: int = 1
) -> NDArray[np.uint8]:
    """Pieces (m, s, s, 3) of `images` (B, 3, H, W), bytes or in [-1, 1]: of images `rows` (m,), each one's
    region at `positions` (m,) of a grid of side * side, with `context` regions around it.
    """
    factor = images.shape[-1] // side
    margin = context * factor
    padded = F.pad(to_uint8(images[rows]).float(), (margin,) * 4, mode="replicate").byte()
    patches = np.empty((len(rows), factor + 2 * margin, factor + 2 * margin, 3), dtype=np.uint8)
    for number, position in enumerate(positions.tolist()):
        top, left = (place * factor for place in divmod(position, side))
        piece = padded[number, :, top : top + factor + 2 * margin, left : left + factor + 2 * margin]
        patches[number] = piece.permute(1, 2, 0).numpy()
    return patches


def code_coverage(pairs: Pairs, importance: Tensor, codebook_size: int) -> Tensor:
    """Mean share (K,) of object pixels in the regions that took each code; nan where none did.

    `importance` (B, H, W) is the true object mask of each image.
    """
    of_regions = region_coverage(importance, pairs.side)
    rows, places = (~pairs.is_padding).nonzero(as_tuple=True)
    coverage = of_regions[rows, pairs.positions[rows, places]].double()
    codes = pairs.codes[rows, places]
    sums = torch.zeros(codebook_size, dtype=torch.float64).index_add_(0, codes, coverage)
    return sums / torch.bincount(codes, minlength=codebook_size)
