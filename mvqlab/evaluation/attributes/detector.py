"""The judge of drawn attributes: a trained `AttributeNetwork`, frozen and kept, that says how good it is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mvqlab.config import SceneKind
from mvqlab.data.pixels import from_uint8, to_uint8
from mvqlab.data.shapes import DRAWING_VERSION, SIMPLE_VERSION, ShapesDataset
from mvqlab.evaluation.attributes.agreement import JUDGED, Values, agreement, asked_of, found_in
from mvqlab.evaluation.attributes.network import (
    RECIPE_VERSION,
    RESOLUTION,
    AttributeNetwork,
    drawn,
    train_attribute_network,
)
from mvqlab.evaluation.judging_networks import AlwaysEvaluating, JudgingNetwork, trained_once

STEPS = 2400  # some 80 seconds of one core
SEED = 0  # not the run's own: runs with different seeds are to be measured alike
TESTED_SCENES = 2000


class AttributeDetector(AlwaysEvaluating):
    """Finds the attributes of drawn objects in images of 32 pixels or more.

    accuracies: what it finds of each attribute in scenes that it was not trained on, 0 to 1. Nothing that it
    judges can be known better. name: in words. scene: the kind of scenes that it learned and can judge.
    """

    def __init__(
        self,
        network: AttributeNetwork,
        steps: int,
        accuracies: dict[str, float],
        scene: SceneKind = "full",
    ) -> None:
        super().__init__()
        self.network, self.accuracies, self.scene = network, accuracies, scene
        found = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in accuracies.items())
        self.name = f"attribute detector ({steps} steps; right on drawings: {found})"
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, batch_size: int = 256) -> Values:
        """What it finds in images (B, 3, H, W), uint8 or in [-1, 1], on the CPU.

        Raises ValueError for images of fewer than 32 pixels a side, on which textures cannot be told apart.
        """
        if min(images.shape[-2:]) < RESOLUTION:
            raise ValueError(
                f"the attribute detector needs images of {RESOLUTION} pixels or more, got "
                f"{images.shape[-2]} x {images.shape[-1]}"
            )
        device = self.network.head.weight.device
        chunks = [
            found_in(self.network(from_uint8(to_uint8(chunk).to(device))))
            for chunk in images.split(batch_size)
        ]
        return {name: torch.cat([chunk[name] for chunk in chunks]).cpu() for name in chunks[0]}


def attribute_detector(
    steps: int = STEPS,
    *,
    scene: SceneKind = "full",
    seed: int = SEED,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> AttributeDetector:
    """The detector of drawn attributes: read from the folder `cache`, or trained for `steps` and put there.

    It learns from scenes of its own, which are in no data set, so one serves all runs and resolutions of a
    kind of `scene`: where simple ones are judged, take one that learned simple ones.
    `cache`: see `trained_once`. Raises OSError, before any training, if the folder cannot be written.
    """

    def train() -> JudgingNetwork:
        network = train_attribute_network(steps, seed, device, scene)
        measured = measure_accuracies(AttributeDetector(network, steps, {}, scene), seed)
        return JudgingNetwork(network, {name: str(accuracy) for name, accuracy in measured.items()})

    def finish(network: AttributeNetwork, about: dict[str, str]) -> AttributeDetector:
        return AttributeDetector(network, steps, {name: float(about[name]) for name in JUDGED}, scene)

    kind = "" if scene == "full" else f"-{scene}{SIMPLE_VERSION}"
    name = f"attributes-drawing{DRAWING_VERSION}{kind}-{steps}steps-seed{seed}-v{RECIPE_VERSION}"
    return trained_once(name, AttributeNetwork, train, finish, cache).to(device)


def measure_accuracies(detector: AttributeDetector, seed: int = SEED) -> dict[str, float]:
    """What `detector` finds of each attribute in 2000 drawn scenes on which it was not trained, 0 to 1."""
    split = "attribute detector, held out"
    dataset = ShapesDataset(TESTED_SCENES, RESOLUTION, seed, split, detector.scene)
    scenes = [dataset.scene(index) for index in range(TESTED_SCENES)]
    found, asked = detector(drawn(scenes).images), asked_of(scenes)
    return {name: agreement(asked[name], found[name]).accuracy for name in asked}
