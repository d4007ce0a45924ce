"""The networks whose features FID and KID compare.

Figures of two extractors do not compare (METHOD weak point 15), so each names its own column:

judge         small networks of several seeds, trained for some minutes on the data itself to see what its
              images show and what they look like; needs no file. The default.
efficientnet  knows photographs; its weights come with an extra.
inception     what published FIDs use; needs a file of weights.
lab           the older judge, trained for some seconds to name classes: blind to hue. Kept for the tables
              that were made with it.

The figures of `judge` and `lab` compare runs on the same data, and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mvqlab.config import Config, ExtractorName
from mvqlab.data import Splits
from mvqlab.evaluation.samples.efficientnet import EfficientNetExtractor
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.jury import jury_of
from mvqlab.evaluation.samples.lab_network import (
    RECIPE_VERSION,
    LabAccuracy,
    LabNetwork,
    LabTask,
    lab_task,
    measure_accuracy,
    train_lab_network,
)
from mvqlab.evaluation.samples.taught import TaughtExtractor, taught_once
from mvqlab.support import pretrained
from mvqlab.support.torchvision_guard import import_torchvision

LAB_SEED = 0  # not the run's own: runs with different seeds are to be measured alike


def build_extractor(config: Config, splits: Splits, device: torch.device | str = "cpu") -> FeatureExtractor:
    """The extractor that `config.evaluation.extractor` names, the first of several: `build_extractors`."""
    return _build(config.evaluation.extractors[0], config, splits, device)


def build_extractors(
    config: Config, splits: Splits, device: torch.device | str = "cpu"
) -> list[FeatureExtractor]:
    """All extractors that `config.evaluation.extractor` names; those trained on the data only if not cached.

    Raises MissingWeightsError if a file of weights is not there.
    """
    return [_build(name, config, splits, device) for name in config.evaluation.extractors]


def _build(
    name: ExtractorName, config: Config, splits: Splits, device: torch.device | str
) -> FeatureExtractor:
    if name == "judge":
        return jury_of(config, splits, device)
    if name == "efficientnet":
        return EfficientNetExtractor().to(device)
    if name == "inception":
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


class LabExtractor(TaughtExtractor):
    """A trained `LabNetwork`."""

    def __init__(self, network: LabNetwork, resolution: int, task: LabTask, accuracy: LabAccuracy) -> None:
        how_well = f"{accuracy.accuracy:.0%} right on {accuracy.measured_on} images"
        super().__init__(f"lab ({task.meaning}, {resolution}px, {how_well})", "lab", network, task, accuracy)

    @property
    def head(self) -> nn.Linear:
        return self.network.head


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
    return taught_once(
        f"lab-{splits.data_hash}-{recipe}",
        empty=lambda: LabNetwork(resolution, task.n_answers),
        train=lambda: train_lab_network(splits, task, resolution, steps, seed, device),
        measure=lambda network: measure_accuracy(network, splits, task, seed),
        finish=lambda network, accuracy: LabExtractor(network, resolution, task, accuracy),
        cache=cache,
    ).to(device)
