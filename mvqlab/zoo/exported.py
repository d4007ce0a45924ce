"""Models by name, or by the folders of their runs, as ONNX files with a card beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mvqlab.config import Config, SamplingConfig
from mvqlab.data import DataError
from mvqlab.interop.onnx_export import ExportError, export_card, export_graphs, require_exporter
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.support.files import check_nothing_in_the_way, write_text_whole
from mvqlab.training import load_settings, load_stage1
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.origin import class_names_of
from mvqlab.zoo.shipped import load_shipped_stage1, shipped_card, shipped_folder, shipped_names
from mvqlab.zoo.trained import load_trained

CARD = "card.json"
OF_A_SHIPPED_ONE = ("purpose", "data", "licence", "credit", "stage1")  # of its card
DRAWN_BY = ("temperature", "code_guidance", "position_guidance", "ordered_positions")
FILTERS = ("code_top_k", "code_top_p", "position_top_k", "position_top_p")


def export_by_name(
    name: str, folder: Path, stage1: Path | None = None, *, fresh: bool = False
) -> dict[str, Any]:
    """Write the model `name`, shipped or the folder of a run, to `folder`; returns its card.

    stage1: of a run of stage 2, the folder of its stage 1. A card tells inputs, outputs and bytes of the
    graphs, the model's sizes, its class names, how it draws by default, and of a shipped one whom to credit.
    What an earlier export left is replaced where `fresh`. Raises ExportError, InTheWayError,
    CheckpointError, SampleError.
    """
    require_exporter()
    if not (fresh and (folder / CARD).is_file()):
        check_nothing_in_the_way(folder, "name another folder with --out, or give --fresh")
    model, config, run = _loaded(name, stage1)
    card = export_card(model, export_graphs(model, folder))
    card = {"name": Path(name).name, **card, "data": config.data.name}
    if isinstance(model, PairModel):
        card["sampling"] = _sampling(config.sampling)
        if card["condition"] == "class":
            card["class_names"] = _class_names(run, config, card["n_classes"])
    if name in shipped_names():
        known = shipped_card(name)
        card |= {key: known[key] for key in OF_A_SHIPPED_ONE if key in known}
    write_text_whole(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return card


def _loaded(name: str, stage1: Path | None) -> tuple[TokenModel | PairModel, Config, Path]:
    """A model of either stage, its settings, and where its run lies."""
    if name in shipped_names() and shipped_card(name)["stage"] == 1:
        if stage1 is not None:
            raise ExportError(f"'{name}' is a stage 1 itself: leave --stage1 out")
        shipped = load_shipped_stage1(name)
        return shipped, shipped.config, shipped_folder(name)
    if name in shipped_names() or stage1 is not None:
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
