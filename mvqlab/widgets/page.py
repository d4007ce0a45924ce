"""The widgets as a page of their own, for a lecture hall: `mvqlab explore`, served by Voila."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from mvqlab.widgets.codebook_atlas import CodebookAtlas
from mvqlab.widgets.elements import Instrument, classed, style
from mvqlab.widgets.generation_player import GenerationPlayer
from mvqlab.widgets.mask_explorer import MaskExplorer

KERNEL = "python3"
TITLE = "# mvqlab: masked vector quantisation, to be moved by hand"
CELL = """import warnings

warnings.simplefilter("ignore")  # what they say about this machine is nothing for a lecture hall
from mvqlab.widgets.page import all_widgets

all_widgets()"""


WIDGETS: dict[str, Callable[[], Instrument]] = {
    "Mask explorer": MaskExplorer,
    "Generation player": GenerationPlayer,
    "Codebook atlas": CodebookAtlas,
}


def all_widgets() -> widgets.Box:
    """The three widgets, a tab each; a widget is made when its tab is first opened. They grow together."""
    places = [widgets.VBox([widgets.HTML("loading ...")]) for _ in WIDGETS]
    tab = widgets.Tab(children=places, titles=tuple(WIDGETS))
    empty = dict(enumerate(WIDGETS.values()))
    made: list[Instrument] = []

    def fill(_: object = None) -> None:
        make = empty.pop(tab.selected_index, None)
        if make is not None:
            made.append(make())
            widgets.link((made[0].large, "value"), (made[-1].large, "value"))
            places[tab.selected_index].children = (made[-1],)

    tab.observe(fill, "selected_index")
    tab.selected_index = 0
    fill()
    return classed(widgets.VBox([style(), tab]), "mvqlab-page")


def voila_arguments(
    notebook: Path, port: int, opens_browser: bool = True, has_token: bool = True
) -> list[str]:
    """What Voila is told, to show `notebook` to this machine alone; see `page_server.explore`."""
    return [
        str(notebook),
        "--Voila.ip=127.0.0.1",
        f"--port={port}",
        *(["--token"] if has_token else []),
        *([] if opens_browser else ["--no-browser"]),
        "--VoilaConfiguration.strip_sources=True",
        f"--VoilaConfiguration.kernel_spec_manager_class={__name__}.ThisPythonOnly",
    ]


def write_notebook(folder: Path, cell: str, title: str = TITLE) -> Path:
    """A notebook of a title and one cell, whose last line is a widget."""
    cells = [nbformat.v4.new_markdown_cell(title)] if title else []
    cells.append(nbformat.v4.new_code_cell(cell))
    kernel = {"name": KERNEL, "display_name": "Python 3", "language": "python"}
    notebook = folder / "explore.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebook)
    return notebook


class ThisPythonOnly(KernelSpecManager):
    """Knows one kernel, that of the running interpreter, whatever the machine calls python3."""

    def find_kernel_specs(self) -> dict[str, str]:
        """The one name, and that it has no folder."""
        return {KERNEL: ""}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of `sys.executable`."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="mvqlab", language="python")

    def get_all_specs(self) -> dict[str, Any]:
        """The same, as plain settings."""
        return {KERNEL: {"resource_dir": "", "spec": self.get_kernel_spec(KERNEL).to_dict()}}
