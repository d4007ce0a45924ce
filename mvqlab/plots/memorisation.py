"""Generated images over the training images that lie nearest to them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mvqlab.plots.images import name_row, picture_grid


def nearest_training(
    generated: NDArray[np.uint8],
    training: NDArray[np.uint8],
    nearness: ArrayLike,
    distance: ArrayLike,
    title: str = "",
) -> Figure:
    """Images (n, H, W, 3), below each its nearest training image (n, H, W, 3).

    Below each column stand its distance (n,) in the extractor's features, and its nearness (n,), the share
    of held-out images that lie nearer to a training image; see `memorisation`.
    """
    figure, axes = picture_grid(2, len(generated), title, margin=1.7)
    rows = {"generated": generated, "nearest training": training}
    for row, (label, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
        name_row(row[0], label)
    for axis, share, apart in zip(axes[1], np.asarray(nearness), np.asarray(distance), strict=True):
        axis.set_xlabel(f"distance {apart:.2g}\n{share:.0%} of held-out\nlie nearer", fontsize=7)
    return figure
