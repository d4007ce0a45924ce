"""A trained transformer with the stage 1 that it belongs to: shipped, or from the folders of two runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mvqlab.config import Config
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.training import CheckpointError, load_settings, load_stage1, load_stage2
from mvqlab.training.origin import check_stage1
from mvqlab.training.stage2 import check_same_stage1
from mvqlab.training.tokens import weights_hash
from mvqlab.zoo.drawn import SampleError
from mvqlab.zoo.shipped import is_shipped, shipped_card, shipped_folder, shipped_names


@dataclass(frozen=True)
class Trained:
    """A transformer, its stage 1, its settings and the folder that they lie in."""

    model: PairModel
    stage1: TokenModel
    config: Config
    folder: Path


def load_trained(
    model: str | Path, stage1: Path | str | None = None, *, allow_changes: bool = False
) -> Trained:
    """A shipped transformer by its name (see `is_shipped`), or one in a folder with that of its stage 1.

    allow_changes: the stage 1 may be another than the one that it was trained on. Raises SampleError,
    CheckpointError; ConfigError where the two stages do not belong together.
    """
    if is_shipped(model):
        card = shipped_card(str(model))
        if card["stage"] != 2:
            raise SampleError(f"'{model}' is a stage 1, which draws nothing by itself; {_which_there_are()}")
        if stage1 is not None:
            raise SampleError(f"'{model}' comes with its own stage 1, {card['stage1']}: give no other")
        folder, stage1 = shipped_folder(str(model)), shipped_folder(card["stage1"])
    else:
        folder = Path(model)
        if not folder.is_dir():
            raise SampleError(
                f"there is no folder {folder} and no shipped model '{model}'; {_which_there_are()}"
            )
        if stage1 is None:
            raise SampleError(f"give the folder of the stage 1 that {folder} was trained on, too")
    of_stage1, config = load_stage1(Path(stage1)), load_settings(folder)
    try:
        transformer = load_stage2(folder, of_stage1)
    except CheckpointError:
        check_same_stage1(config, of_stage1.config)  # where they do not belong together, it says so better
        raise
    check_stage1(folder, weights_hash(of_stage1), allow_changes=allow_changes)
    return Trained(transformer, of_stage1, config, folder)


def _which_there_are() -> str:
    names = [name for name in shipped_names() if shipped_card(name)["stage"] == 2]
    return f"there are {', '.join(names)}"
