"""A picture of one's own for a widget: chosen in the browser, decoded in memory, trusted in nothing."""

from __future__ import annotations

from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from mvqlab.data.dataset import DataError
from mvqlab.data.image_files import square_of
from mvqlab.data.pixels import from_uint8
from mvqlab.widgets.mask_canvas import STATIC

MEGABYTES = 8  # of a file: a message to the kernel may hold 10 MiB
MEGAPIXELS = 40.0  # of a picture, known from its header: more is refused as a decompression bomb


class PictureFile(anywidget.AnyWidget):
    """A button that takes an image file; `chosen` changes with every choice, `image` then decodes it.

    shown: the words beside it; what is chosen need not be what is shown.
    Nothing is written to disk. A file over 8 MB does not leave the browser.
    """

    _esm = STATIC / "picture_file.js"
    label = traitlets.Unicode("your own picture").tag(sync=True)
    shown = traitlets.Unicode("").tag(sync=True)
    limit = traitlets.Int(MEGABYTES * 2**20).tag(sync=True)
    # bytes come as a view of the message; and need not travel back to the browser
    content = traitlets.Bytes(b"").tag(sync=True, from_json=lambda view, _: bytes(view), echo_update=False)
    chosen = traitlets.Dict({"name": "", "size": 0, "number": 0}).tag(sync=True)

    def image(self, resolution: int) -> Tensor:
        """The chosen picture's central square, (3, resolution, resolution) in [-1, 1].

        Raises DataError: too large a file, too many pixels, or not an image.
        """
        chosen: dict[str, Any] = self.chosen
        name = str(chosen["name"])
        size = max(int(chosen["size"]), len(self.content))
        if size > self.limit:
            raise DataError(f"{name} has {size / 2**20:.1f} MB; a picture may have {MEGABYTES} MB")
        return picture_from(self.content, name, resolution)


def picture_from(content: bytes, name: str, resolution: int) -> Tensor:
    """The central square of an image file's bytes, (3, resolution, resolution) in [-1, 1].

    Raises DataError where it has over 40 megapixels or is not an image that can be read.
    """
    pixels = square_of(bytes(content), name, resolution, MEGAPIXELS)
    return from_uint8(torch.from_numpy(pixels))
