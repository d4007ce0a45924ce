"""Build the page: its sources, the runtime, the models, their images and atlases, all in one plain folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from matplotlib import colormaps

from mvqlab.data import build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.interop.onnx_export import require_exporter
from mvqlab.play.atlas_files import write_atlas
from mvqlab.play.offered import Offered, offered
from mvqlab.play.vendored import FILES, vendored_runtime
from mvqlab.support.files import check_nothing_in_the_way, write_bytes_whole, write_text_whole
from mvqlab.widgets.mask_canvas import STATIC as OF_WIDGETS
from mvqlab.widgets.picture_bytes import pixels_of, png
from mvqlab.zoo.exported import export_by_name
from mvqlab.zoo.shipped import shipped_config, shipped_names

PAGE = "play.json"  # what the page's script reads first, written last
MARK = ".made_by_mvqlab"  # in a page, which the next one may write over, also where it is not whole
STATIC = Path(__file__).parent / "static"
WIDGETS = ("mask_canvas.js", "code_points.js")  # which a page shares with the notebooks


class PlayError(ValueError):
    """The page cannot be built as asked. The message says why."""


def build_page(
    folder: Path,
    names: list[str] | None = None,
    *,
    fresh: bool = False,
    tell: Callable[[str], object] = lambda words: None,
) -> Path:
    """Build the page into `folder`, of the shipped models `names` (default: all); returns its index.html.

    Any web server may serve it, from any path, without special headers. tell: called with a line for every
    step. A page that was built there before is replaced where `fresh`. Raises PlayError, ExportError,
    VendorError, InTheWayError.
    """
    unknown = sorted(set(names or ()) - set(shipped_names()))
    if unknown:
        there = ", ".join(shipped_names())
        raise PlayError(f"no model '{', '.join(unknown)}' comes with mvqlab: there are {there}")
    require_exporter()
    runtime = vendored_runtime()
    if not (fresh and (folder / MARK).is_file()):
        check_nothing_in_the_way(folder, "name another folder with --out, or give --fresh")
    shows = offered(names)
    for line in shows.left_out:
        tell(f"left out: {line}")
    if not (shows.explorer or shows.player or shows.atlas):
        raise PlayError("none of these models is one that the page shows")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    (folder / PAGE).unlink(missing_ok=True)
    for of_models in ("images", "atlas", "models"):  # an earlier page may have shown others
        shutil.rmtree(folder / of_models, ignore_errors=True)
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    _copy(OF_WIDGETS, WIDGETS, folder / "widgets")
    _copy(runtime, FILES, folder / "ort")
    for one in shows.explorer:
        tell(f"images of {one['model']}")
        one["images"] = list(_write_images(one["model"], one["images"], folder))
    for one in shows.atlas:
        tell(f"atlas of {one['model']}")
        write_atlas(one["model"], folder / "atlas")
    for name in shows.models:
        tell(f"model {name}")
        export_by_name(name, folder / "models" / name, fresh=True)
    write_text_whole(folder / PAGE, json.dumps(_page(shows), indent=1, ensure_ascii=False) + "\n")
    return folder / "index.html"


def _page(shows: Offered) -> dict[str, Any]:
    """What the page's script reads first."""
    colours = (colormaps["cividis"](range(256))[:, :3] * 255.0).round().astype("uint8")
    return {
        "cividis": colours.tobytes().hex(),
        "explorer": shows.explorer,
        "player": shows.player,
        "atlas": shows.atlas,
    }


def _copy(source: Path, names: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(source / name, folder)


def _write_images(name: str, images: list[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    """Held-out images of a model as PNG files; each with its number, its words and its file."""
    dataset = build_splits(shipped_config(name).data).validation
    for number in (image["number"] for image in images):
        if number >= len(dataset):
            continue
        file = f"images/{name}_{number}.png"
        write_bytes_whole(folder / file, png(pixels_of(to_uint8(dataset[number]["image"]))))
        words = dataset.caption(number) or "a photograph"
        yield {"number": number, "words": f"{number}: {words}", "file": file}
