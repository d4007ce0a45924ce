"""The widgets as still pictures, taken of the page that a visitor sees.

    take(EXPLORER, Path("results/reference/mask_explorer.png"))

A widget is set up in Python, served by Voila to a Chromium of this machine, and pictured as it stands there.
"""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mvqlab.support.files import whole_file
from mvqlab.widgets.browser import open_browser, serve
from mvqlab.widgets.page import voila_arguments, write_notebook

WIDTH, MARGIN = 1280, 12  # pixels of the page, and around a widget
PICTURED = "mvqlab-pictured"  # class of the widget that the picture is of
PATIENCE = 120_000  # milliseconds until it stands there: the machine may be busy

EXPLORER = """import warnings

warnings.simplefilter("ignore")
from mvqlab.widgets import MaskExplorer

explorer = MaskExplorer(lpips="none")
explorer.compares.value = True
explorer.add_class("mvqlab-pictured")"""

PLAYER = """import warnings

warnings.simplefilter("ignore")
from mvqlab.widgets import GenerationPlayer

player = GenerationPlayer()
player.step.value = player.play.value = 27  # something is there, and something to come
player.add_class("mvqlab-pictured")"""


def take(cell: str, path: Path) -> Path:
    """Run `cell`, whose last line is a widget of class `PICTURED`, and write how it looks to `path`.

    Raises NoBrowserError, and RuntimeError where the page's server does not start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="mvqlab-") as folder, open_browser() as browser:
        notebook = write_notebook(Path(folder), cell, title="")
        with serve(["voila", *voila_arguments(notebook, _free_port(), False)], Path(folder)) as address:
            page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            widget = page.locator(f".{PICTURED}")
            widget.wait_for()
            page.wait_for_load_state("networkidle")
            with whole_file(path) as temporary:
                temporary.write_bytes(page.screenshot(type="png", full_page=True, clip=_around(widget)))
    return path


def _around(widget: Any) -> dict[str, float]:
    """The box of a widget on its page, and a margin."""
    box = widget.bounding_box()
    left, top = max(0, box["x"] - MARGIN), max(0, box["y"] - MARGIN)
    width = min(WIDTH - left, box["x"] + box["width"] + MARGIN - left)
    return {"x": left, "y": top, "width": width, "height": box["y"] + box["height"] + MARGIN - top}


def _free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return connection.getsockname()[1]
