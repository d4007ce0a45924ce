"""Extractors that learned from the data itself: what they have in common, and that each learns once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from mvqlab.data.pixels import from_uint8
from mvqlab.evaluation.judging_networks import JudgingNetwork, trained_once
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.lab_network import LabAccuracy, LabTask

Taught = TypeVar("Taught", bound="TaughtExtractor")


class TaughtExtractor(FeatureExtractor):
    """A network with `features` of images in [-1, 1]; `task`, `accuracy`: what it learned, how well."""

    def __init__(self, name: str, column: str, network: Any, task: LabTask, accuracy: LabAccuracy) -> None:
        super().__init__(name, column, network.num_features)
        self.network, self.task, self.accuracy = network, task, accuracy
        self.eval().requires_grad_(False)

    @property
    def head(self) -> nn.Linear:
        """The layer of the network that answers the task from the features."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(from_uint8(images))

    def answers(self, features: Tensor) -> Tensor | None:
        if self.task.kind != "labels":  # a turn by a quarter is no kind of image
            return None
        return self.head(features.to(self.head.weight)).detach().cpu()


def taught_once(
    name: str,
    empty: Callable[[], nn.Module],
    train: Callable[[], Any],
    measure: Callable[[Any], LabAccuracy],
    finish: Callable[[Any, LabAccuracy], Taught],
    cache: Path | None = None,
) -> Taught:
    """What `finish` makes of the network called `name` and its accuracy: see `trained_once`.

    train: gives a trained network, measure: its accuracy.
    """

    def trained() -> JudgingNetwork:
        network = train()
        accuracy = measure(network)
        about = {"accuracy": str(accuracy.accuracy), "measured_on": accuracy.measured_on}
        return JudgingNetwork(network, about)

    def finished(network: Any, about: dict[str, str]) -> Taught:
        return finish(network, LabAccuracy(float(about["accuracy"]), about["measured_on"]))

    return trained_once(name, empty, trained, finished, cache)
