"""Still pictures of widgets; in a file of its own, as one process drives one browser at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvqlab.widgets.browser import NoBrowserError
from mvqlab.widgets.screenshot import MARGIN, PICTURED, take

CELL = f"""import ipywidgets

box = ipywidgets.HTML("<div style='background: #0f0; height: 80px'></div>")
box.layout.width = "300px"
box.add_class("{PICTURED}")"""


@pytest.mark.slow
def test_a_picture_of_a_widget_shows_all_of_it(tmp_path: Path) -> None:
    """Its box and a margin around it, and nothing of the page beside it."""
    try:
        path = take(CELL, tmp_path / "widget.png")
    except NoBrowserError as error:
        pytest.skip(str(error))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    is_green = (pixels == [0, 255, 0]).all(axis=-1)
    assert 250 < is_green.any(axis=0).sum() <= 300 and is_green.any(axis=1).sum() == 80
    assert pixels.shape[1] <= 300 + 2 * MARGIN and not is_green[[0, -1]].any()
