"""Put trained models among those that come with mvqlab, each with a card (`mvqlab.zoo.shipped` loads them).

    python -m mvqlab.zoo.shipping RUN                        the run in the folder RUN, by the folder's name
    python -m mvqlab.zoo.shipping RUNS --all                 every run in RUNS that has a place in the plan

What a model is for and which stage 1 a transformer belongs to stands in `mvqlab/zoo/checkpoints/plan.yaml`;
``make checkpoints`` trains and ships those that a CPU can train.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml
from torch import nn

from mvqlab.config import Config, DataConfig, save_config
from mvqlab.config.yaml_files import read_yaml
from mvqlab.data import Splits, batches_in_order, build_splits
from mvqlab.evaluation import build_extractors, evaluate_generation, evaluate_stage1, stage2_columns
from mvqlab.evaluation.attributes.class_asked_for import drawing_with
from mvqlab.evaluation.images.choice import at_random, by_score, choosing
from mvqlab.evaluation.images.reconstruction import collect, mean_psnr
from mvqlab.evaluation.samples.possible_copies import N_SAMPLES, BlurredPixels, possible_copies
from mvqlab.models.caption_tokenizer import FILE_NAME as CAPTIONS
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.transformers import n_parameters
from mvqlab.results import environment
from mvqlab.sampling import sample_images
from mvqlab.support.files import whole_file, write_text_whole
from mvqlab.support.plain import plain
from mvqlab.training import load_settings, load_stage1, load_stage2
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.weights import load_weights, save_weights
from mvqlab.zoo.shipped import CARD, FOLDER, load_shipped_stage1

PLAN = FOLDER / "plan.yaml"
FEW = 5000  # training images: a transformer can learn so few by heart, so its card says whether it copies
LARGE = 2_000_000  # parameters: larger models are shipped in 8 bits
JUDGED_RATIOS = (0.5, 0.75)  # of a model that serves every mask ratio
LICENCES = {  # of data that others have made, and what it asks of whoever shows what a model makes of them
    "emoji": "trained on OpenMoji drawings, CC BY-SA 4.0: pictures from it are shared alike, with credit",
    "fashion": "trained on Fashion-MNIST, MIT",
    "photos": "trained on photographs, CC BY 2.0, CC0 and in the public domain: pictures come with credit",
}


class ShippingError(ValueError):
    """A run cannot be shipped as asked. The message says what is missing."""


class Facts(NamedTuple):
    """What a card says that no file of the run tells.

    stage1: the shipped stage 1 that a transformer belongs to. machine: what it was trained on. notes: what
    its settings do not tell of the training, as how images were varied.
    """

    purpose: str
    stage1: str | None = None
    machine: str | None = None
    notes: str | None = None


def planned_facts(name: str) -> Facts | None:
    """What the plan says of the model `name`; None where it has no place there."""
    plan = read_yaml(PLAN, "plan of shipped models")
    return Facts(**plan[name]) if name in plan else None


def ship(run: Path, name: str, facts: Facts) -> Path:
    """Put the trained model in the folder `run` among the shipped ones, with a card; returns its folder.

    What the card measures, it measures on the weights as shipped, in half precision or in 8 bits. Raises
    CheckpointError, ShippedError, DataError.
    """
    config, folder = load_settings(run), FOLDER / name
    splits = build_splits(config.data)
    model, of_stage1 = _load(run, facts.stage1)
    for file in ("curves.csv", CAPTIONS):
        if (run / file).exists():
            write_text_whole(folder / file, (run / file).read_text(encoding="utf-8"))
    with whole_file(folder / "config.yaml") as path:
        save_config(config, path)
    path = folder / WEIGHTS
    save_weights(model.half(), path, in_8_bits=_is_large(model), shipped=name)
    load_weights(model.float(), path)
    metrics = _judged(model, of_stage1, splits, config, pd.read_csv(run / "curves.csv"))
    content = _card(facts, config, splits, model, metrics, pd.read_csv(run / "curves.csv"))
    write_text_whole(
        folder / CARD, yaml.safe_dump(plain(content, "card"), sort_keys=False, allow_unicode=True)
    )
    return folder


def ship_all(runs: Path, machine: str | None = None) -> Iterator[Path]:
    """Ship every run in the folder `runs` that has a place in the plan, in the plan's order.

    Yields the folder of each when it is there. Raises ShippingError where there is none.
    """
    names = [name for name in read_yaml(PLAN, "plan") if (runs / name / WEIGHTS).exists()]
    if not names:
        raise ShippingError(f"no run in {runs} bears a name in {PLAN.name}")
    for name in names:
        torch.manual_seed(0)
        facts = planned_facts(name)
        assert facts is not None  # the names are the plan's
        yield ship(runs / name, name, facts._replace(machine=machine))


def _load(run: Path, stage1: str | None) -> tuple[TokenModel | PairModel, TokenModel | None]:
    if stage1 is None:
        return load_stage1(run), None
    of_stage1 = load_shipped_stage1(stage1)
    return load_stage2(run, of_stage1), of_stage1


def _is_large(model: nn.Module) -> bool:
    return n_parameters(model) > LARGE


def _judged(
    model: TokenModel | PairModel,
    of_stage1: TokenModel | None,
    splits: Splits,
    config: Config,
    curves: pd.DataFrame,
) -> dict[str, Any]:
    extractors = build_extractors(config, splits)
    if isinstance(model, TokenModel):
        return evaluate_stage1(model, splits, config, extractors) | psnr_over_ratios(model, splits, config)
    assert of_stage1 is not None  # a transformer has one
    samples = sample_images(model, of_stage1, config)
    metrics = evaluate_generation(samples.images, splits, config, extractors)
    if len(splits.train) < FEW:
        drawn = sample_images(model, of_stage1, drawing_with(config, 1.0, N_SAMPLES))
        for extractor in [*extractors, BlurredPixels()]:
            metrics |= possible_copies(drawn.images, splits, extractor, config.seed)
    return metrics | stage2_columns(curves, samples)


def psnr_over_ratios(model: TokenModel, splits: Splits, config: Config) -> dict[str, float]:
    """Mean PSNR in dB of held-out images at 50 and 75 % dropped, by the scores and at random.

    psnr_50, psnr_50_random and so on; nothing for a model that serves one mask ratio only.
    """
    fewest, most = config.mask.ratio_range
    if fewest == most or not isinstance(model, MQVAE) or model.config.mask.kind != "adaptive":
        return {}
    columns = {}
    for ratio in JUDGED_RATIOS:
        for suffix, rank in (("", by_score), ("_random", at_random)):
            options = config.evaluation
            batches = batches_in_order(splits.validation, options.batch_size, options.images)
            with choosing(model, n_kept(ratio, model.n_positions), rank):
                held_out = collect(model, batches, config.seed)
            psnr = mean_psnr(held_out.images, held_out.reconstructions)
            columns[f"psnr_{round(100 * ratio)}{suffix}"] = psnr
    return columns


def _card(
    facts: Facts,
    config: Config,
    splits: Splits,
    model: nn.Module,
    metrics: dict[str, Any],
    curves: pd.DataFrame,
) -> dict[str, Any]:
    stage = 1 if facts.stage1 is None else 2
    # of this process, which ships and measures: runs do not keep what trained them, `machine` says it
    made_with = {name: environment().get(name) for name in ("mvqlab", "git_commit", "torch", "device")}
    content = {
        "purpose": facts.purpose,
        "stage": stage,
        "stage1": facts.stage1,
        "data": data_words(config.data, len(splits.train)),
        "data_hash": splits.data_hash,
        "licence": licence_of(config.data),
        "credit": splits.credit,
        "notes": facts.notes,
        "steps": (config.stage1 if stage == 1 else config.stage2).steps,
        "seconds": round(float(curves["seconds"].max())),
        "machine": facts.machine,
        "seed": config.seed,
        "parameters": n_parameters(model),
        "weights": "8 bits, a scale a row" if _is_large(model) else "float16",
        "made_with": made_with,
        "metrics": {key: round(v, 5) if isinstance(v, float) else v for key, v in metrics.items()},
    }
    return {name: value for name, value in content.items() if value not in (None, "")}


def data_words(config: DataConfig, n_train: int) -> str:
    """Such as "emoji, 64 pixels, 3449 images"."""
    name: str = "simple shapes" if config.name == "shapes" and config.scene == "simple" else config.name
    if config.mixture:
        name = f"mixture of {', '.join(config.mixture)}"
    return f"{name}, {config.resolution} pixels, {n_train} images"


def licence_of(config: DataConfig) -> str:
    """What the licences of the data ask of whoever shows pictures from a model; "" where nothing is asked."""
    names = config.mixture or (config.name,)
    return "; ".join(LICENCES[name] for name in names if name in LICENCES)


def main() -> None:
    """``python -m mvqlab.zoo.shipping RUN [NAME] [--all] [--purpose WORDS] [--stage1 NAME] [--machine M]``"""
    parser = argparse.ArgumentParser(description="put trained models among those that come with mvqlab")
    parser.add_argument("run", type=Path, help="folder of the run; with --all, the folder that holds runs")
    parser.add_argument("name", nargs="?", help="its name among the shipped models; default: the folder's")
    parser.add_argument("--all", action="store_true", help="ship every run in the folder that is planned")
    parser.add_argument("--purpose", help="one line on what it is for; default: what the plan says")
    parser.add_argument(
        "--stage1", help="for a transformer: its shipped stage 1; default: what the plan says"
    )
    parser.add_argument("--machine", help='what it was trained on, as "one NVIDIA H100"')
    parser.add_argument("--notes", help="what its settings do not tell; default: what the plan says")
    options = parser.parse_args()
    if options.all:
        for folder in ship_all(options.run, options.machine):
            print(folder, flush=True)
        return
    name = options.name or options.run.name
    told = {
        key: value
        for key in ("purpose", "stage1", "machine", "notes")
        if (value := getattr(options, key)) is not None
    }
    known = planned_facts(name)
    if known is None and "purpose" not in told:
        parser.error(f"'{name}' has no place in {PLAN}: say what it is for with --purpose")
    torch.manual_seed(0)
    print(ship(options.run, name, Facts(**told) if known is None else known._replace(**told)))


if __name__ == "__main__":
    main()
