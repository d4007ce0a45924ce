"""Codes as discs in a plane, in the browser, of which one is chosen."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from torch import Tensor

from mvqlab.evaluation.codebook.plane import in_unit_square
from mvqlab.widgets.mask_canvas import STATIC


class CodePoints(anywidget.AnyWidget):
    """Discs that grow with use, crosses for codes that are not in use; a click or the arrow keys choose one.

    points: three 32-bit floats a code, across and up from 0 to 1 and use from 0 to 1. chosen: a code.
    neighbours: codes in a square frame. label: what a screen reader calls it.
    """

    _esm = STATIC / "code_points.js"
    points = traitlets.Bytes(b"").tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    neighbours = traitlets.List(traitlets.Int()).tag(sync=True)
    label = traitlets.Unicode("codebook").tag(sync=True)

    def place(self, codes: Tensor, counts: Tensor) -> None:
        """Show codes at coordinates (K, 2), as large as they were taken often, `counts` (K,)."""
        use = counts.double() / counts.max().clamp(min=1)
        rows = torch.cat([in_unit_square(codes), use.unsqueeze(1)], dim=1)  # (K, 2), (K, 1) -> (K, 3)
        self.points = rows.float().numpy().tobytes()
