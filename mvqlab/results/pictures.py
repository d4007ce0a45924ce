"""The few images that a point of a grid keeps, so that figures can be drawn later without its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvqlab.support.files import whole_file
from mvqlab.support.finite import check_finite

FILE_NAME = "pictures.npz"


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


class PicturesError(ValueError):
    """The pictures of a point cannot be read. The message says which, and what to do."""


def load_pictures(folder: Path) -> Pictures | None:
    """The pictures that the point in `folder` kept, or None if it kept none.

    Raises PicturesError where the file is damaged, NonFiniteError.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pictures = Pictures(**{name: arrays[name] for name in arrays.files})
    except OSError:
        raise
    except Exception as error:  # of what is damaged, zipfile, zlib and numpy raise whatever they meet
        raise PicturesError(f"{path} is damaged ({error}): remove it, or run its point afresh") from None
    check_finite(f"scores in {path}", pictures.scores)
    return pictures
