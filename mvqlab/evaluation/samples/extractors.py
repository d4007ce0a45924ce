"""The networks whose features FID and KID compare.

Figures of two extractors do not compare (METHOD weak point 15), so each names its own column:

inception   what published FIDs use; needs a file of weights.
lab         a small network trained for some seconds on the data itself; needs no file. Its figures
            compare runs on the same data, and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import Splits
from mvqlab.evaluation.judging_networks import AlwaysEvaluating, JudgingNetwork, trained_once
from mvqlab.evaluation.samples.lab_network import (
    RECIPE_VERSION,
    LabAccuracy,
    LabNetwork,
    LabTask,
    lab_task,
    measure_accuracy,
    train_lab_network,
)
from mvqlab.support import pretrained
from mvqlab.support.torchvision_guard import import_torchvision

LAB_SEED = 0  # not the run's own: runs with different seeds are to be measured alike


class FeatureExtractor(AlwaysEvaluating):
    """A frozen network: uint8 images (B, 3, H, W) -> features (B, num_features).

    name: in words. column: what its FID and KID columns end in.
    """

    def __init__(self, name: str, column: str, num_features: int) -> None:
        super().__init__()
        self.name, self.column, self.num_features = name, column, num_features

    @property
    def device(self) -> torch.device:
        """Where images must be."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def answers(self, features: Tensor) -> Tensor | None:
        """The network's logits over its classes (B, C) from features (B, num_features); None without any."""
        return None


def build_extractor(config: Config, splits: Splits, device: torch.device | str = "cpu") -> FeatureExtractor:
    """The extractor that `config.evaluation.extractor` names; trains the `lab` one if it is not cached.

    Raises MissingWeightsError if Inception's file is not there.
    """
    if config.evaluation.extractor == "inception":
        return InceptionExtractor().to(device)
    return lab_extractor(splits, config.data.resolution, config.evaluation.extractor_steps, device=device)


class InceptionExtractor(FeatureExtractor):
    """torch-fidelity's Inception v3 at its last pooling: the network and resizing of published FIDs.

    Raises MissingWeightsError if its file is not there (nothing is downloaded), ImportError if
    torch-fidelity is not installed.
    """

    def __init__(self) -> None:
        super().__init__("inception (torch-fidelity, 2048 features)", "inception", 2048)
        file = pretrained.inception()
        # torch-fidelity unpickles whatever the file holds, so it is read once before, safely.
        pretrained.load(file)
        import_torchvision()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ModuleNotFoundError as error:
            advice = "the inception extractor needs torch-fidelity: pip install 'mvqlab[inception]'"
            raise ImportError(advice) from error

        with torch.random.fork_rng(devices=[]):
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file.path))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]

    def answers(self, features: Tensor) -> Tensor:
        # without the bias, as in published scores
        weight = self.network.fc.weight
        return (features.to(weight) @ weight.T).cpu()


class LabExtractor(FeatureExtractor):
    """A trained `LabNetwork`; `task` and `accuracy` say what at and how well."""

    def __init__(self, network: LabNetwork, resolution: int, task: LabTask, accuracy: LabAccuracy) -> None:
        how_well = f"{accuracy.accuracy:.0%} right on {accuracy.measured_on} images"
        name = f"lab ({task.meaning}, {resolution}px, {how_well})"
        super().__init__(name, "lab", LabNetwork.num_features)
        self.network, self.task, self.accuracy = network, task, accuracy
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(images.float() / 127.5 - 1.0)

    def answers(self, features: Tensor) -> Tensor | None:
        if self.task.kind != "labels":  # a turn by a quarter is no kind of image
            return None
        return self.network.head(features.to(self.network.head.weight)).detach().cpu()


def lab_extractor(
    splits: Splits,
    resolution: int,
    steps: int,
    *,
    seed: int = LAB_SEED,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> LabExtractor:
    """The `lab` extractor for `splits`: read from the folder `cache`, or trained and put there.

    `cache`: see `trained_once`.

    Raises OSError, before any training, if the folder cannot be written.
    """
    recipe = f"{resolution}px-{steps}steps-seed{seed}-v{RECIPE_VERSION}"
    task = lab_task(splits)

    def train() -> JudgingNetwork:
        network = train_lab_network(splits, task, resolution, steps, seed, device)
        accuracy = measure_accuracy(network, splits, task, seed)
        return JudgingNetwork(
            network, {"accuracy": str(accuracy.accuracy), "measured_on": accuracy.measured_on}
        )

    def finish(network: LabNetwork, about: dict[str, str]) -> LabExtractor:
        accuracy = LabAccuracy(float(about["accuracy"]), about["measured_on"])
        return LabExtractor(network, resolution, task, accuracy)

    def empty() -> LabNetwork:
        return LabNetwork(resolution, task.n_answers)

    return trained_once(f"lab-{splits.data_hash}-{recipe}", empty, train, finish, cache).to(device)
