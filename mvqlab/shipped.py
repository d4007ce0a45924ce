"""The small trained models that come with mvqlab, so that pictures are good from the first minute.

    mqvae = load_shipped_stage1("mqvae")
    stackformer = load_shipped_stage2("stackformer")    # predicts the pairs of that MQ-VAE

Each lies in `mvqlab/checkpoints/NAME/`: settings, curves and weights as a training leaves them, weights in
half precision, and `card.yaml`: what it was trained on, how long, at which commit, and how good it is.
`python -m mvqlab.shipped RUN NAME` makes one from a run (`make checkpoints` makes all).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn

from mvqlab.captions import FILE_NAME as CAPTIONS
from mvqlab.config import Config, save_config
from mvqlab.data import Splits, build_splits
from mvqlab.evaluation import build_extractor, evaluate_generation, evaluate_stage1, stage2_columns
from mvqlab.files import whole_file, write_text_whole
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.stage2 import n_parameters
from mvqlab.results import environment
from mvqlab.sampling import sample_images
from mvqlab.training import load_settings, load_stage1, load_stage2
from mvqlab.training.checkpoint import save_weights

FOLDER = Path(__file__).parent / "checkpoints"
CARD = "card.yaml"


class ShippedError(KeyError):
    """There is no shipped model of that name, or it is of the other stage."""

    def __str__(self) -> str:
        return str(self.args[0])


def shipped_names() -> list[str]:
    """Names of the models that come with mvqlab."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))


def shipped_card(name: str) -> dict[str, Any]:
    """What is known about a shipped model: purpose, stage, stage1, data, steps, commit, metrics.

    Raises ShippedError.
    """
    if name not in shipped_names():
        raise ShippedError(f"no model '{name}' comes with mvqlab: there are {', '.join(shipped_names())}")
    return yaml.safe_load((FOLDER / name / CARD).read_text(encoding="utf-8"))


def shipped_folder(name: str) -> Path:
    """Where a shipped model lies. Raises ShippedError."""
    shipped_card(name)
    return FOLDER / name


def shipped_config(name: str) -> Config:
    """The settings that a shipped model was trained with. Raises ShippedError."""
    return load_settings(shipped_folder(name))


def load_shipped_stage1(name: str = "mqvae") -> TokenModel:
    """A shipped stage-1 model, in evaluation mode on the CPU. Raises ShippedError."""
    _require_stage(name, 1)
    return load_stage1(FOLDER / name)


def load_shipped_stage2(name: str = "stackformer") -> PairModel:
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


def ship(run: Path, name: str, purpose: str, stage1: str | None = None) -> Path:
    """Put the trained model in the folder `run` among the shipped ones, with a card; returns its folder.

    `stage1` names the shipped stage 1 that a transformer belongs to. What the card measures, it measures on
    the weights as shipped, in half precision.
    """
    config, folder = load_settings(run), FOLDER / name
    splits = build_splits(config.data)
    extractor = build_extractor(config, splits)
    facts = {"purpose": purpose, "stage": 1 if stage1 is None else 2}
    if stage1 is None:
        model: nn.Module = load_stage1(run)
    else:
        of_stage1 = load_shipped_stage1(stage1)
        facts["stage1"] = stage1
        model = load_stage2(run, of_stage1)
    for file in ("curves.csv", CAPTIONS):
        if (run / file).exists():
            write_text_whole(folder / file, (run / file).read_text(encoding="utf-8"))
    with whole_file(folder / "config.yaml") as path:
        save_config(config, path)
    save_weights(model.half(), folder / "weights.safetensors", shipped=name)
    model.float()
    if stage1 is None:
        metrics = evaluate_stage1(model, splits, config, extractor)
    else:
        samples = sample_images(model, of_stage1, config)
        metrics = evaluate_generation(samples.images, splits, config, extractor)
        metrics |= stage2_columns(pd.read_csv(run / "curves.csv"), samples)
    write_text_whole(
        folder / CARD, yaml.safe_dump(_card(facts, config, splits, model, metrics), sort_keys=False)
    )
    return folder


def _card(
    facts: dict[str, Any], config: Config, splits: Splits, model: nn.Module, metrics: dict[str, Any]
) -> dict[str, Any]:
    made_with = {name: environment().get(name) for name in ("mvqlab", "git_commit", "torch", "device")}
    return {
        **facts,
        "data": f"{config.data.name}, {config.data.resolution} pixels, {len(splits.train)} images",
        "data_hash": splits.data_hash,
        "steps": (config.stage1 if facts["stage"] == 1 else config.stage2).steps,
        "seed": config.seed,
        "parameters": n_parameters(model),
        "weights": "float16",
        "made_with": made_with,
        "metrics": {key: round(v, 5) if isinstance(v, float) else v for key, v in metrics.items()},
    }


def main() -> None:
    """``python -m mvqlab.shipped RUN NAME [--purpose WORDS] [--stage1 NAME]``"""
    parser = argparse.ArgumentParser(description="put a trained model among those that come with mvqlab")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="its name among the shipped models")
    parser.add_argument("--purpose", help="one line on what it is for; default: what its card says")
    parser.add_argument(
        "--stage1", help="for a transformer: its shipped stage 1; default: what its card says"
    )
    options = parser.parse_args()
    card = shipped_card(options.name) if options.name in shipped_names() else {}
    purpose = options.purpose or card.get("purpose")
    if purpose is None:
        parser.error(f"'{options.name}' is new: say what it is for with --purpose")
    torch.manual_seed(0)
    print(ship(options.run, options.name, purpose, options.stage1 or card.get("stage1")))


if __name__ == "__main__":
    main()
