"""Models by name, or by the folders of their runs, as ONNX files with a card beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mvqlab.config import Config, SamplingConfig
from mvqlab.data import DataError
from mvqlab.interop.onnx_export import ExportError, export_card, export_graphs, require_exporter
from mvqlab.interop.onnx_graphs import GRAPHS
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.start import ClassStart
from mvqlab.support.files import TEMPORARY, check_nothing_in_the_way, temporary_folder, write_text_whole
from mvqlab.training import load_settings, load_stage1
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.origin import class_names_of
from mvqlab.zoo.shipped import is_shipped, load_shipped_stage1, shipped_card, shipped_folder, shipped_names
from mvqlab.zoo.trained import load_trained

CARD = "card.json"
FILES = tuple(f"{name}.onnx" for name in GRAPHS)
OF_A_SHIPPED_ONE = ("purpose", "data", "licence", "credit", "stage1")  # of its card
DRAWN_BY = ("temperature", "code_guidance", "position_guidance", "ordered_positions")
FILTERS = ("code_top_k", "code_top_p", "position_top_k", "position_top_p")


def export_by_name(
    name: str, folder: Path, stage1: Path | None = None, *, fresh: bool = False
) -> dict[str, Any]:
    """Write the model `name`, shipped or a run's folder (see `is_shipped`), to `folder`; returns its card.

    stage1: of a run of stage 2, the folder of its stage 1. A card tells inputs, outputs and bytes of the
    graphs, the model's sizes, its class names, how it draws by default, and of a shipped one whom to credit.
    What an earlier export left, also one that was cut short, is replaced where `fresh`, when all of the new
    one is written. Raises ExportError, InTheWayError, CheckpointError, SampleError.
    """
    require_exporter()
    if not fresh:
        check_nothing_in_the_way(folder, "name another folder with --out, or give --fresh")
    elif not (folder.is_dir() and _is_of_an_export(folder)):
        check_nothing_in_the_way(
            folder, "it holds no export, which --fresh would replace: name another folder with --out"
        )
    model, config, run = _loaded(name, stage1)
    with temporary_folder(folder) as temporary:
        card = {
            "name": Path(name).name,
            **export_card(model, export_graphs(model, temporary)),
            **_told_of(name, model, config, run),
        }
        write_text_whole(temporary / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
        # without a card it is no export, until the new one comes last
        for earlier in (CARD, *FILES):
            (folder / earlier).unlink(missing_ok=True)
        for made in sorted(temporary.iterdir(), key=lambda path: path.name == CARD):
            made.replace(folder / made.name)
    return card


def _is_of_an_export(folder: Path) -> bool:
    """Whether an export has a card in `folder`, or was cut short there and left nothing else behind."""
    names = [path.name for path in folder.iterdir()]
    return CARD in names or all(name in FILES or name.startswith(TEMPORARY) for name in names)


def _told_of(name: str, model: TokenModel | PairModel, config: Config, run: Path) -> dict[str, Any]:
    """What a card says beside sizes and graphs: data, how it draws, of a shipped one whom to credit."""
    told: dict[str, Any] = {"data": config.data.name}
    if isinstance(model, PairModel):
        told["sampling"] = _sampling(config.sampling)
        if isinstance(model.start, ClassStart):
            told["class_names"] = _class_names(run, config, model.start.n_classes)
    if is_shipped(name):
        known = shipped_card(name)
        told |= {key: known[key] for key in OF_A_SHIPPED_ONE if key in known}
    return told


def _loaded(name: str, stage1: Path | None) -> tuple[TokenModel | PairModel, Config, Path]:
    """A model of either stage, its settings, and where its run lies."""
    if is_shipped(name) and shipped_card(name)["stage"] == 1:
        if stage1 is not None:
            raise ExportError(f"'{name}' is a stage 1 itself: leave --stage1 out")
        shipped = load_shipped_stage1(name)
        return shipped, shipped.config, shipped_folder(name)
    if is_shipped(name) or stage1 is not None:
        trained = load_trained(name, stage1)
        return trained.model, trained.config, trained.folder
    if not Path(name).is_dir():
        there = ", ".join(shipped_names())
        raise ExportError(f"there is no folder {name} and no shipped model '{name}'; there are {there}")
    try:
        model = load_stage1(Path(name))
    except CheckpointError as error:
        raise ExportError(f"{error} (of a transformer, give its stage 1, too: --stage1)") from None
    return model, load_settings(Path(name)), Path(name)


def _sampling(settings: SamplingConfig) -> dict[str, Any]:
    """How a transformer draws by default."""
    return {key: getattr(settings, key) for key in (*DRAWN_BY, *FILTERS)}


def _class_names(run: Path, config: Config, n_classes: int) -> list[str]:
    """What the classes are called; their numbers where the data are not here, or are others today."""
    try:
        names = class_names_of(run, config)
    except DataError:
        names = []
    return names if len(names) == n_classes else [str(number) for number in range(n_classes)]
