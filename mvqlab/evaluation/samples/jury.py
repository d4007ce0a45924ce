"""The `judge` extractor: networks of several seeds, whose distances are averaged.

Two networks that learned the same from different seeds tell different distances of the same images. A figure
of one is as much about its seed as about the images; the mean over three is less so, and the spread over
them says how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mvqlab.config import Config
from mvqlab.data import Splits
from mvqlab.data.shapes import DRAWING_VERSION, SIMPLE_VERSION, ShapesDataset
from mvqlab.evaluation.samples.class_judge import data_name, whole_splits
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.judge_network import (
    RECIPE_VERSION,
    JudgeNetwork,
    empty_network,
    train_judge_network,
)
from mvqlab.evaluation.samples.lab_network import LabAccuracy, LabTask, lab_task, measure_accuracy
from mvqlab.evaluation.samples.taught import TaughtExtractor, taught_once

STEPS = 1100  # of a judge's training: nine in ten garments are named right
STEPS_OF_SIMPLE = 500  # plain objects are told apart sooner
TESTED_IMAGES = 2000  # for each judge's accuracy


class Judge(TaughtExtractor):
    """A trained `JudgeNetwork`."""

    def __init__(self, network: JudgeNetwork, task: LabTask, accuracy: LabAccuracy) -> None:
        how_well = f"{accuracy.accuracy:.1%} right on {accuracy.measured_on} images"
        super().__init__(f"judge ({task.meaning}, {how_well})", "judge", network, task, accuracy)

    @property
    def head(self) -> nn.Linear:
        return self.network.shows


class Jury(FeatureExtractor):
    """Judges of the same images, trained alike from several seeds; their features stand side by side."""

    def __init__(self, judges: Sequence[Judge], of: str) -> None:
        accuracies = [judge.accuracy.accuracy for judge in judges]
        accuracy = sum(accuracies) / len(judges)
        n_seeds = f"{len(judges)} seeds" if len(judges) > 1 else "one seed"
        how_well = f"{accuracy:.1%} right on {judges[0].accuracy.measured_on} images"
        name = f"judge of {of} ({judges[0].task.meaning}, {n_seeds}, {how_well})"
        super().__init__(name, "judge", sum(judge.num_features for judge in judges))
        self.judges = nn.ModuleList(judges)

    @property
    def members(self) -> list[FeatureExtractor]:
        return list(self.judges)  # type: ignore[arg-type]  # a ModuleList does not know of what

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([judge(images) for judge in self.members], dim=1)


def jury_of(config: Config, splits: Splits, device: torch.device | str = "cpu") -> Jury:
    """The jury of the data set of `config`, whose images are in `splits`; trained where it is not cached.

    It learns from all images that the set has, so that one serves runs on many images and on few; of drawn
    scenes from its own, of a folder from the training images in `splits`.
    """
    data, evaluation = config.data, config.evaluation
    is_whole = isinstance(splits.train, ShapesDataset) or data.name == "folder"
    learned_from = splits if is_whole else whole_splits(data)
    return jury(
        learned_from,
        data.resolution,
        evaluation.judge_steps or (STEPS_OF_SIMPLE if data.scene == "simple" else STEPS),
        range(evaluation.judge_seeds),
        of=data_name(data),
        device=device,
    )


def jury(
    splits: Splits,
    resolution: int,
    steps: int,
    seeds: Sequence[int],
    *,
    of: str = "images",
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Jury:
    """Judges of `splits`, one of each of `seeds`: read from the folder `cache`, or trained and put there.

    of: the data set, in a word. `cache`: see `trained_once`. Raises OSError, before any training, if the
    folder cannot be written.
    """
    judges = [_judge(splits, resolution, steps, seed, cache, device) for seed in seeds]
    return Jury(judges, of).to(device)


def _judge(
    splits: Splits, resolution: int, steps: int, seed: int, cache: Path | None, device: torch.device | str
) -> Judge:
    task = lab_task(splits)
    recipe = f"{resolution}px-{steps}steps-seed{seed}-v{RECIPE_VERSION}"
    return taught_once(
        f"judge-of-samples-{_images_of(splits)}-{recipe}",
        empty=lambda: empty_network(splits, task, resolution),
        train=lambda: train_judge_network(splits, task, resolution, steps, seed, device),
        measure=lambda network: measure_accuracy(network, splits, task, seed, TESTED_IMAGES),
        finish=lambda network, accuracy: Judge(network, task, accuracy),
        cache=cache,
    )


def _images_of(splits: Splits) -> str:
    """What a judge's file is named after: the images, or how the drawn scenes look that it learned from."""
    if not isinstance(splits.train, ShapesDataset):
        return splits.data_hash
    kind = splits.train.kind
    return f"{kind}{SIMPLE_VERSION if kind == 'simple' else ''}-drawing{DRAWING_VERSION}"
