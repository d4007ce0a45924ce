"""Rows of images: what a model keeps of them, what comes back, what they lie nearest to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mvqlab.plots.style import DROPPED, MAP_COLOURS, SMALL, as_written, headline
from mvqlab.results.pictures import Pictures
from mvqlab.support.finite import check_finite

CELL = 0.95  # inches of an image in a figure


def image_rows(rows: Mapping[str, NDArray[np.uint8]], title: str = "", columns: Sequence[str] = ()) -> Figure:
    """One labelled row of images (n, H, W, 3) below the other; `columns`: names for the first of each row."""
    n_columns = max(len(images) for images in rows.values())
    figure, axes = picture_grid(len(rows), n_columns, title, margin=1.7)
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(row, images, strict=False):
            axis.imshow(image)
        name_row(row[0], label)
    name_columns(axes[0], columns)
    return figure


def masks(pictures: Pictures, title: str = "", n_images: int = 8) -> Figure:
    """Original, score map, kept regions and reconstruction, column by column."""
    check_finite(f"scores of {title}", pictures.scores)
    n = min(n_images, len(pictures.originals))
    figure, axes = picture_grid(4, n, title, margin=1.7)
    has_scores = np.ptp(pictures.scores) > 0
    for column in range(n):
        image = pictures.originals[column]
        axes[0, column].imshow(image)
        if has_scores:
            axes[1, column].imshow(pictures.scores[column], cmap=MAP_COLOURS)
        else:
            axes[1, column].text(0.5, 0.5, "no scores", ha="center", va="center", fontsize=7)
        axes[2, column].imshow(hide_dropped(image, pictures.is_kept[column]))
        axes[3, column].imshow(pictures.reconstructions[column])
    for axis, label in zip(axes[:, 0], ("original", "score", "kept regions", "reconstruction"), strict=True):
        name_row(axis, label)
    return figure


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


def hide_dropped(
    image: NDArray[np.uint8], is_kept: NDArray[np.bool_], fading: float = 0.88
) -> NDArray[np.uint8]:
    """`image` (H, W, 3) with the regions that are not kept (h, w) faded to slate, by 1 altogether."""
    factor = image.shape[0] // is_kept.shape[0]
    kept = np.kron(is_kept, np.ones((factor, factor), dtype=bool))[..., None]
    return np.where(kept, image, ((1.0 - fading) * image + fading * np.array(DROPPED)).astype(np.uint8))


def picture_grid(
    n_rows: int, n_columns: int, title: str, margin: float
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure of bare axes (n_rows, n_columns) for pictures, `margin` inches wider for names of rows."""
    figure = Figure(figsize=(n_columns * CELL + margin, n_rows * CELL + 0.4), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    headline(figure, as_written(title))
    return figure, axes


def name_columns(axes: Sequence[Axes], names: Sequence[str]) -> None:
    """Write `names` above the pictures of the first row, a word a line."""
    for axis, name in zip(axes, names, strict=False):
        words = as_written(name).replace(" & ", "\N{NO-BREAK SPACE}& ").split(" ")
        axis.set_title("\n".join(words), fontsize=SMALL)


def name_row(axis: Axes, label: str) -> None:
    """Write `label` to the left of the first picture of a row."""
    axis.set_ylabel(as_written(label), rotation=0, ha="right", va="center", fontsize=SMALL)
