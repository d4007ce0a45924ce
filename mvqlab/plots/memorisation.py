"""Generated images over the training images that lie nearest to them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mvqlab.plots.images import name_row, picture_grid


def nearest_training(
    generated: NDArray[np.uint8], training: NDArray[np.uint8], nearness: ArrayLike, title: str = ""
) -> Figure:
    """Images (n, H, W, 3), below each its nearest training image (n, H, W, 3).

    nearness (n,): the share of held-out images that lie nearer to a training image, written below each
    column; see `memorisation`.
    """
    figure, axes = picture_grid(2, len(generated), title, margin=1.7)
    rows = {"generated": generated, "nearest training": training}
    for row, (label, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
        name_row(row[0], label)
    for axis, share in zip(axes[1], np.asarray(nearness), strict=True):
        axis.set_xlabel(f"{share:.0%} of held-out\nlie nearer", fontsize=7)
    return figure
