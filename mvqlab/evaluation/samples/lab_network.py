"""The small network behind the `lab` extractor, and the question on the data that it learns to answer.

With classes it names them; without, it says how far an image was turned (Gidaris et al. 2018).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.data import Batch, Splits, batches, batches_in_order
from mvqlab.evaluation.judging_networks import convolution, count_right, train_judging_network

RECIPE_VERSION = 1  # raise it when the network, its training or the measure of its accuracy changes
BATCH_SIZE = 64
LEARNING_RATE = 3e-3  # at its highest
TESTED_IMAGES = 512  # for the accuracy


class LabTask(NamedTuple):
    """What the network learns: to name a label, or the quarter turn an image was given.

    meaning: of the label, in words. n_answers: how many there are to choose from.
    """

    kind: Literal["labels", "rotation"]
    meaning: str
    n_answers: int


class LabAccuracy(NamedTuple):
    """Share of right answers, 0 to 1, and the images it was measured on: held-out or training."""

    accuracy: float
    measured_on: str


class LabNetwork(nn.Module):
    """Five convolutions, averaged over the image, and a linear head.

    The first one brings any resolution down to some 32 x 32, so that the time hardly depends on it.
    """

    num_features = 64

    def __init__(self, resolution: int, n_answers: int) -> None:
        super().__init__()
        shrink = max(1, resolution // 32)
        self.body = nn.Sequential(
            convolution(3, 24, stride=shrink, kernel=2 * shrink + 1),
            convolution(24, 32, stride=2),
            convolution(32, 48),
            convolution(48, 64, stride=2),
            convolution(64, self.num_features),
        )
        self.head = nn.Linear(self.num_features, n_answers)

    def features(self, images: Tensor) -> Tensor:
        """What FID and KID compare, (B, 64), of images (B, 3, H, W) in [-1, 1]."""
        return self.body(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n_answers) of images (B, 3, H, W) in [-1, 1]."""
        return self.head(self.features(images))


def lab_task(splits: Splits) -> LabTask:
    """Naming the label where there are at least two to tell apart, else the rotation."""
    if splits.n_classes > 1:
        return LabTask("labels", splits.label_meaning, splits.n_classes)
    return LabTask("rotation", "rotation", 4)


def train_lab_network(
    splits: Splits, task: LabTask, resolution: int, steps: int, seed: int, device: torch.device | str = "cpu"
) -> LabNetwork:
    """Train a `LabNetwork` on the training images for `steps` batches of 64; in evaluation mode after."""
    turns = torch.Generator().manual_seed(seed)
    questions = (question_of(batch, task, turns) for batch in batches(splits.train, BATCH_SIZE, seed=seed))

    def loss_of(network: LabNetwork, some: Question) -> Tensor:
        return F.cross_entropy(network(some.images.to(device)), some.answers.to(device))

    how: dict[str, Any] = {
        "seed": seed,
        "title": "lab extractor",
        "highest_rate": LEARNING_RATE,
        "device": device,
    }
    build = partial(LabNetwork, resolution, task.n_answers)
    return train_judging_network(build, questions, loss_of, steps, **how)


@torch.no_grad()
def measure_accuracy(
    network: nn.Module, splits: Splits, task: LabTask, seed: int, tested_images: int = TESTED_IMAGES
) -> LabAccuracy:
    """Accuracy of a `network` that gives logits (B, n_answers), on up to `tested_images` held-out images.

    Where labels are source photographs, on training images: held-out crops come from photographs of
    their own, which the network cannot know.
    """
    is_photographs = task.kind == "labels" and splits.label_meaning == "source photograph"
    dataset, measured_on = (splits.train, "training") if is_photographs else (splits.validation, "held-out")
    device = next(network.parameters()).device
    turns = torch.Generator().manual_seed(seed)
    tested = batches_in_order(dataset, BATCH_SIZE, tested_images)
    questions = (question_of(batch, task, turns) for batch in tested)
    n_right, n_answers = count_right(
        (network(images.to(device)).argmax(dim=1), answers) for images, answers in questions
    )
    return LabAccuracy(n_right / n_answers, measured_on)


class Question(NamedTuple):
    """Images (B, 3, H, W), turned where that is the question, and the true answers (B,)."""

    images: Tensor
    answers: Tensor


def question_of(batch: Batch, task: LabTask, generator: torch.Generator) -> Question:
    """What `task` asks of a batch; `generator` draws by how many quarters each image is turned."""
    if task.kind == "labels":
        return Question(batch.images, batch.labels)
    turns = torch.randint(4, (len(batch.images),), generator=generator)
    turned = [image.rot90(turn, (1, 2)) for image, turn in zip(batch.images, turns.tolist(), strict=True)]
    return Question(torch.stack(turned), turns)
