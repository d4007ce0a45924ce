"""The judge of classes: a small network that learned from real training images alone to name their class.

    judge = class_judge(config.data)
    judge.right(images, labels)         # share of images that show the class that was asked for

It is trained once a data set, on all its training images, and kept. What it names right on real held-out
images is what it can see at all: shares of samples are to be read beside that figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import DataConfig
from mvqlab.data import Batch, Splits, batches, batches_in_order, build_splits
from mvqlab.data.dataset import DataError
from mvqlab.data.pixels import from_uint8, to_uint8
from mvqlab.evaluation.intervals import exact_share
from mvqlab.evaluation.judging_networks import (
    AlwaysEvaluating,
    JudgingNetwork,
    convolution,
    count_right,
    train_judging_network,
    trained_once,
)
from mvqlab.support.one_thread import one_thread

RECIPE_VERSION = 1  # raise it when the network or its training changes
STEPS = 1400  # three times the 60,000 garments: some three minutes of one thread
STEPS_OF_SIMPLE = 400  # plain objects are told apart sooner
SEED = 0  # not the run's own: runs with different seeds are to be measured alike
BATCH_SIZE = 128
LEARNING_RATE = 5e-3  # at its highest
RESOLUTION = 32  # pixels: what it sees of any image
ANY_SEED = ("shapes", "fashion")  # data whose seed does not say which images are held out
MOST_TRAINING, MOST_HELD_OUT = 60_000, 10_000  # images; of drawn scenes there is no end


class Share(NamedTuple):
    """`right` of `asked` images, and that share with its exact (Clopper-Pearson) 95 % interval, 0 to 1."""

    right: int
    asked: int
    share: float
    low: float
    high: float


def share_of(right: int, asked: int) -> Share:
    """The share of `right` in `asked`, with its interval. Raises ValueError if nothing was asked for."""
    if asked < 1:
        raise ValueError("nothing was asked for, so nothing can be right")
    return Share(right, asked, *exact_share(right, asked))


class ClassNetwork(nn.Module):
    """Four convolutions with batch norm on blocks of 2 x 2 pixels, a mean a quarter, and a linear head.

    Means of quarters, not of the whole image: where something lies tells garments apart.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            convolution(12, 32),
            convolution(32, 64),
            nn.MaxPool2d(2),
            convolution(64, 96),
            convolution(96, 128),
        )
        self.head = nn.Linear(4 * 128, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n_classes) of images (B, 3, H, W) in [-1, 1]; large ones are averaged down."""
        small = images if images.shape[-1] == RESOLUTION else F.adaptive_avg_pool2d(images, RESOLUTION)
        return self.head(F.adaptive_avg_pool2d(self.body(small), 2).flatten(1))


class ClassJudge(AlwaysEvaluating):
    """A trained `ClassNetwork`, frozen.

    column: what the columns of its figures end in. name: in words. on_real: what it names right of real
    held-out images.
    """

    def __init__(self, network: ClassNetwork, column: str, class_names: list[str], on_real: Share) -> None:
        super().__init__()
        self.network, self.column, self.class_names, self.on_real = network, column, class_names, on_real
        self.name = f"{column} ({on_real.share:.1%} right on {on_real.asked} real held-out images)"
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """The class (B,) of each of `images` (B, 3, H, W), uint8 or in [-1, 1]; on the CPU."""
        device = self.network.head.weight.device
        chunks = [
            self.network(from_uint8(to_uint8(chunk).to(device))).argmax(dim=1)
            for chunk in images.split(batch_size)
        ]
        return torch.cat(chunks).cpu()

    def right(self, images: Tensor, labels: Tensor) -> Share:
        """How many of `images` (B, 3, H, W) show their class of `labels` (B,)."""
        return share_of(int((self(images) == labels.cpu()).sum()), len(labels))


def class_judge(
    data: DataConfig,
    steps: int | None = None,
    *,
    seed: int = SEED,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> ClassJudge:
    """The judge of the classes of `data`: read from the folder `cache`, or trained and put there.

    steps: of its training, 1400 by default, for simple scenes 400. Sizes of `data` are not looked at: the
    judge learns from all training images that the set has (of drawn scenes from 60,000), so that one serves
    all runs. `cache`: see `trained_once`.

    Raises DataError for data without classes, OSError, before any training, if the folder cannot be written.
    """
    steps = steps or (STEPS_OF_SIMPLE if data.scene == "simple" else STEPS)
    splits = whole_splits(data)
    if splits.n_classes < 2:
        raise DataError(
            f"data.name={data.name} has no classes to tell apart, so there is no judge of classes"
        )
    column = f"judge_{data_name(data)}"

    def train() -> JudgingNetwork:
        network = train_class_network(splits, steps, seed, device)
        right, asked = _right_on(network, splits)
        return JudgingNetwork(network, {"right": str(right), "asked": str(asked)})

    def finish(network: ClassNetwork, about: dict[str, str]) -> ClassJudge:
        on_real = share_of(int(about["right"]), int(about["asked"]))
        return ClassJudge(network, column, splits.class_names, on_real)

    name = f"{column}-{splits.data_hash}-{steps}steps-seed{seed}-v{RECIPE_VERSION}"
    return trained_once(name, lambda: ClassNetwork(splits.n_classes), train, finish, cache).to(device)


def whole_splits(data: DataConfig) -> Splits:
    """All images of the set that `data` names; of drawn scenes 60,000 and 10,000.

    Where the seed of `data` says what is held out, it does so here, too.
    """
    changes = {"train_size": MOST_TRAINING, "validation_size": MOST_HELD_OUT}
    if data.name in ANY_SEED:
        changes["seed"] = SEED
    return build_splits(data.model_copy(update=changes))


def data_name(data: DataConfig) -> str:
    """The set in one word, with its resolution: fashion32, simple32, emoji64."""
    name = data.scene if data.name == "shapes" and data.scene != "full" else data.set or data.name
    return f"{name}{data.resolution}"


def train_class_network(
    splits: Splits, steps: int, seed: int, device: torch.device | str = "cpu"
) -> ClassNetwork:
    """Train for `steps` batches of 128 training images, mirrored where they may be.

    It comes back in evaluation mode.
    """

    def build() -> ClassNetwork:
        network = ClassNetwork(splits.n_classes)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(network: ClassNetwork, batch: Batch) -> Tensor:
        return F.cross_entropy(network(batch.images.to(device)), batch.labels.to(device))

    how: dict[str, Any] = {
        "seed": seed,
        "title": "judge of classes",
        "highest_rate": LEARNING_RATE,
        "device": device,
    }
    stream = batches(splits.train, BATCH_SIZE, seed=seed)
    with one_thread():
        return train_judging_network(build, stream, loss_of, steps, weight_decay=0.05, **how)


@torch.no_grad()
def _right_on(network: ClassNetwork, splits: Splits) -> tuple[int, int]:
    """How many held-out images are named right, and how many there are."""
    device = network.head.weight.device
    return count_right(
        (network(batch.images.to(device)).argmax(dim=1), batch.labels)
        for batch in batches_in_order(splits.validation, 256)
    )
