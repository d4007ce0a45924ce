"""The few images that a point of a grid keeps, so that figures can be drawn later without its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mvqlab.files import whole_file
from mvqlab.finite import check_finite

if TYPE_CHECKING:
    from torch import Tensor

    from mvqlab.evaluation.reconstruction import HeldOut

FILE_NAME = "pictures.npz"


def to_display(images: Tensor, what: str = "images") -> NDArray[np.uint8]:
    """Images (B, 3, H, W), uint8 or in [-1, 1], as (B, H, W, 3) bytes; what lies outside is clipped.

    Raises NonFiniteError, which calls them `what`.
    """
    from mvqlab.evaluation.generation import to_uint8  # late: who only loads pictures does without torch

    return to_uint8(images, what).cpu().permute(0, 2, 3, 1).numpy()


@dataclass(frozen=True)
class Pictures:
    """Some held-out images as a model sees them; arrays over the same B images, `samples` apart.

    originals, reconstructions (B, H, W, 3) bytes. scores (B, h, w). is_kept (B, h, w) bool.
    samples (M, H, W, 3) bytes: images drawn by stage 2; M is 0 where there is none.
    """

    originals: NDArray[np.uint8]
    reconstructions: NDArray[np.uint8]
    scores: NDArray[np.float32]
    is_kept: NDArray[np.bool_]
    samples: NDArray[np.uint8]

    def save(self, folder: Path) -> None:
        """Write all arrays into `folder`, whole."""
        with whole_file(Path(folder) / FILE_NAME) as path, path.open("wb") as file:
            np.savez_compressed(file, **vars(self))


def load_pictures(folder: Path) -> Pictures | None:
    """The pictures that the point in `folder` kept, or None if it kept none. Raises NonFiniteError."""
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        pictures = Pictures(**{name: arrays[name] for name in arrays.files})
    check_finite(f"scores in {path}", pictures.scores)
    return pictures


def pictures_of(
    held_out: HeldOut, samples: Tensor | None = None, n: int = 16, n_samples: int = 30
) -> Pictures:
    """The first `n` held-out images as a model saw them, the first `n_samples` of `samples` (M, 3, H, W)."""
    side = held_out.pairs.side
    check_finite("scores of held-out images", held_out.scores[:n])
    originals = to_display(held_out.images[:n])
    return Pictures(
        originals=originals,
        reconstructions=to_display(held_out.reconstructions[:n]),
        scores=held_out.scores[:n].unflatten(1, (side, side)).numpy(),
        is_kept=held_out.is_kept[:n].unflatten(1, (side, side)).numpy(),
        samples=originals[:0] if samples is None else to_display(samples[:n_samples], "samples"),
    )
