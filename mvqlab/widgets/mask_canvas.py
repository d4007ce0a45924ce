"""A picture under its mask, in the browser, whose regions can be kept and dropped by hand."""

from __future__ import annotations

from pathlib import Path

import anywidget
import torch
import traitlets
from torch import Tensor

STATIC = Path(__file__).parent / "static"


class MaskCanvas(anywidget.AnyWidget):
    """Dropped regions lie under a veil; with `can_paint` a click, a drag or the space bar changes them.

    picture: a PNG file. side: regions along an edge. is_kept: a "1" or "0" a region, row by row. label:
    what a screen reader calls it.
    """

    _esm = STATIC / "mask_canvas.js"
    picture = traitlets.Bytes(b"").tag(sync=True)
    side = traitlets.Int(1).tag(sync=True)
    is_kept = traitlets.Unicode("").tag(sync=True)
    can_paint = traitlets.Bool(False).tag(sync=True)
    label = traitlets.Unicode("kept regions").tag(sync=True)

    @property
    def positions(self) -> list[int]:
        """The places that are kept, rising."""
        return [place for place, kept in enumerate(self.is_kept) if kept == "1"]

    def show(self, is_kept: Tensor) -> None:
        """Show a choice of regions (L,) bool."""
        self.is_kept = "".join("1" if kept else "0" for kept in is_kept.tolist())

    def keep_all(self) -> None:
        """Keep every region."""
        self.show(torch.ones(self.side**2, dtype=torch.bool))
