"""The small trained models that come with mvqlab, so that pictures are good from the first minute.

    mqvae = load_shipped_stage1("fashion_mqvae")
    stackformer = load_shipped_stage2("fashion_stackformer")    # predicts the pairs of that MQ-VAE

Each lies in `zoo/checkpoints/NAME/`: settings, curves and weights as a training leaves them, weights in
half precision, large ones in 8 bits (see `packed_weights`), and `card.yaml`: what it was trained on, how
long, and how good it is; under `made_with` the commit, torch and device by which the card was made and its
model measured, which need not be those that trained it. `mvqlab.zoo.shipping` makes one from a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mvqlab.config import Config
from mvqlab.config.yaml_files import read_yaml
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.training import load_settings, load_stage1, load_stage2

FOLDER = Path(__file__).parent / "checkpoints"
CARD = "card.yaml"


class ShippedError(KeyError):
    """There is no shipped model of that name, or it is of the other stage."""

    def __str__(self) -> str:
        return str(self.args[0])


def shipped_names() -> list[str]:
    """Names of the models that come with mvqlab."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))


def is_shipped(model: str | Path) -> bool:
    """Whether `model` means one that comes with mvqlab: its bare name does, whatever lies in this folder.

    A folder of such a name is given as a path with a separator: ./NAME in words, as a `Path` forgets the
    dot, or the whole path.
    """
    return str(model) in shipped_names()


def those_shipped(choices: Mapping[str, str]) -> dict[str, str]:
    """Of words and the models that they stand for, those whose models come with this mvqlab."""
    return {words: name for words, name in choices.items() if name in shipped_names()}


def shipped_told(condition: str, stage1: str | None = None) -> list[str]:
    """Names of the shipped transformers that are told a "class", or a "caption"; of one `stage1` only."""
    cards = {name: shipped_card(name) for name in shipped_names()}
    of_stage2 = [name for name, card in cards.items() if card["stage"] == 2]
    return [
        name
        for name in of_stage2
        if shipped_config(name).transformer.condition == condition and stage1 in (None, cards[name]["stage1"])
    ]


def load_stage1_named(name: str | Path) -> TokenModel:
    """The shipped stage 1 of that name, or the one in a run's folder: see `is_shipped`.

    Raises ShippedError, CheckpointError.
    """
    if is_shipped(name) or not Path(name).is_dir():
        return load_shipped_stage1(str(name))
    return load_stage1(name)


def stage1_or_run(name: str) -> list[str]:
    """Names of the shipped models of stage 1, and `name` where that is a folder: what a notebook may load."""
    shipped = [known for known in shipped_names() if shipped_card(known)["stage"] == 1]
    return [*shipped, name] if not is_shipped(name) and Path(str(name)).is_dir() else shipped


def shipped_card(name: str) -> dict[str, Any]:
    """What is known about a shipped model: purpose, stage, stage1, data, steps, metrics, made_with.

    Raises ShippedError.
    """
    if name not in shipped_names():
        raise ShippedError(f"no model '{name}' comes with mvqlab: there are {', '.join(shipped_names())}")
    return read_yaml(FOLDER / name / CARD, "card of a shipped model")


def shipped_folder(name: str) -> Path:
    """Where a shipped model lies. Raises ShippedError."""
    shipped_card(name)
    return FOLDER / name


def shipped_config(name: str) -> Config:
    """The settings that a shipped model was trained with. Raises ShippedError."""
    return load_settings(shipped_folder(name))


def load_shipped_stage1(name: str = "fashion_mqvae") -> TokenModel:
    """A shipped stage-1 model, in evaluation mode on the CPU. Raises ShippedError."""
    _require_stage(name, 1)
    return load_stage1(FOLDER / name)


def load_shipped_stage2(name: str = "fashion_stackformer") -> PairModel:
    """A shipped transformer, in evaluation mode on the CPU, for the pairs of the stage 1 on its card.

    Raises ShippedError.
    """
    card = _require_stage(name, 2)
    stage1 = load_shipped_stage1(card["stage1"])
    return load_stage2(FOLDER / name, stage1)


def shipped_curves(name: str) -> pd.DataFrame:
    """The losses of a shipped model's training, as in its `curves.csv`. Raises ShippedError."""
    return pd.read_csv(shipped_folder(name) / "curves.csv")


def _require_stage(name: str, stage: int) -> dict[str, Any]:
    card = shipped_card(name)
    if card["stage"] != stage:
        raise ShippedError(f"'{name}' is a model of stage {card['stage']}, not of stage {stage}")
    return card
