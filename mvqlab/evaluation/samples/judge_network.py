"""The network behind the `judge` extractor, and what it learns to answer.

Its features are a bottleneck of 64 numbers, on which all answers stand:

what it shows        of drawn scenes class, number and attributes of the objects, of labelled images the
                     label, of others by how many quarters each was turned (Gidaris et al. 2018)
what it looks like   colours by place, contrast by quarter, and sharpness: see `looks_of`

The first alone needs few directions and leaves out what it does not ask for: a network that names shapes is
as sure of grey ones. The second makes features see hue, layout and blur, though no altered image is ever
shown. And features must not tell the same thing twice: their correlations are held down (the redundancy
term of Zbontar et al. 2021), so that distances do not hang on a few directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import SceneKind
from mvqlab.data import Splits, batches
from mvqlab.data.shapes import Scene, ShapesDataset
from mvqlab.evaluation.attributes.agreement import CLASS, asked_of
from mvqlab.evaluation.attributes.network import (
    CELL_LOGITS,
    SIDE,
    Cells,
    DrawnScenes,
    cells_loss,
    cells_of,
    drawn,
)
from mvqlab.evaluation.judging_networks import convolution, train_judging_network
from mvqlab.evaluation.samples.lab_network import LabTask, question_of
from mvqlab.support.one_thread import one_thread

RECIPE_VERSION = 1  # raise it when the network, its training or the measure of its accuracy changes
BATCH_SIZE = 64
LEARNING_RATE = 5e-3  # at its highest
PARTS = 4  # a side: whose colours are told
LOOKS = 3 * PARTS**2 + 2 * 2 + 1  # numbers of `looks_of`
FLAT = 1e-4  # squared difference of neighbours that counts as none
USUAL_BATCHES = 16  # whose looks say what is usual

# weights in the loss
ANSWER = 3.0  # of what an image shows
LOOK = (3.0, 1.0, 4.0)  # of the shares of variance in colours, contrast and sharpness that are not explained
CORRELATIONS = 0.005  # of the features' squared correlations, summed over pairs
ATTRIBUTE = 0.4  # drawn scenes: of the attributes, summed over them
CELL = 0.5  # drawn scenes: of what lies where


class Answers(NamedTuple):
    """What the network makes of images.

    features (B, 64). shows (B, n_answers): logits of what each shows. looks (B, LOOKS): in standard
    deviations of real images. Of drawn scenes also logits of the attributes (B, n), and `Cells`.
    """

    features: Tensor
    shows: Tensor
    looks: Tensor
    attributes: Tensor | None = None
    cells: Cells | None = None


class JudgeNetwork(nn.Module):
    """Four convolutions, pooled in two ways, a bottleneck of 64 features, and linear heads on it.

    The first convolution brings any resolution down to some 16 x 16 places and sees every pixel, so that the
    time hardly depends on it. Pooled are the mean of each quarter, for the layout, and a mean weighed by what
    matters: in drawn scenes by where the largest object lies, elsewhere the network finds out itself.

    n_attributes: of drawn scenes, how many logits of attributes there are; 0 for other images.
    """

    num_features = 64

    def __init__(self, resolution: int, n_answers: int, n_attributes: int = 0) -> None:
        super().__init__()
        shrink = max(1, resolution // (2 * SIDE))
        self.fine = nn.Sequential(
            convolution(3, 24, stride=shrink, kernel=2 * shrink + 1), convolution(24, 48)
        )
        self.coarse = nn.Sequential(convolution(48, 64), convolution(64, 96))
        # Without a learned scale each feature varies by 1 over real images, and none outweighs the others.
        norm = nn.BatchNorm1d(self.num_features, affine=False)
        self.bottleneck = nn.Sequential(nn.Linear((2 * 2 + 1) * 96, self.num_features), norm)
        self.shows = nn.Linear(self.num_features, n_answers)
        self.looks = nn.Linear(self.num_features, LOOKS)
        self.attributes = nn.Linear(self.num_features, n_attributes) if n_attributes else None
        self.cells = nn.Conv2d(96, CELL_LOGITS if n_attributes else 1, 1)

    def features(self, images: Tensor) -> Tensor:
        """What distances compare, (B, 64), of images (B, 3, H, W) in [-1, 1]."""
        return self._features_and_cells(images)[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n_answers) of what images (B, 3, H, W) in [-1, 1] show."""
        return self.shows(self.features(images))

    def answers(self, images: Tensor) -> Answers:
        """All that it says of images (B, 3, H, W) in [-1, 1]."""
        features, cells = self._features_and_cells(images)
        answers = Answers(features, self.shows(features), self.looks(features))
        if self.attributes is None:
            return answers
        return answers._replace(attributes=self.attributes(features), cells=cells_of(cells))

    def _features_and_cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.coarse(F.adaptive_max_pool2d(self.fine(images), SIDE))  # (B, 96, 8, 8)
        cells = self.cells(maps)
        matters = cells[:, 0].flatten(1) if self.attributes is None else cells_of(cells).is_largest  # (B, L)
        weighed = torch.einsum("bcl,bl->bc", maps.flatten(2), matters.softmax(dim=1))  # (B, 96)
        quarters = F.adaptive_avg_pool2d(maps, 2).flatten(1)  # (B, 4 * 96)
        return self.bottleneck(torch.cat([quarters, weighed], dim=1)), cells


class Lesson(NamedTuple):
    """images (B, 3, H, W) in [-1, 1], and what they show, (B,).

    Of drawn scenes also their attributes (B, n), 1.0 where there, and what lies where.
    """

    images: Tensor
    shown: Tensor
    attributes: Tensor | None = None
    scenes: DrawnScenes | None = None


class Usual(NamedTuple):
    """Mean and standard deviation of the looks of real images, (LOOKS,) each."""

    mean: Tensor
    deviation: Tensor


def empty_network(splits: Splits, task: LabTask, resolution: int) -> JudgeNetwork:
    """An untrained network for `task` on images of `splits`."""
    n_attributes = 0
    if isinstance(splits.train, ShapesDataset):
        n_attributes = _attributes([splits.train.scene(0)]).shape[1]
    return JudgeNetwork(resolution, task.n_answers, n_attributes)


def train_judge_network(
    splits: Splits, task: LabTask, resolution: int, steps: int, seed: int, device: torch.device | str = "cpu"
) -> JudgeNetwork:
    """Train for `steps` batches of 64 images; in evaluation mode after.

    Drawn scenes are its own, which are in no data set, each shown once.
    """

    def build() -> JudgeNetwork:
        network = empty_network(splits, task, resolution)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    first = islice(lessons(splits, task, resolution, seed), min(steps, USUAL_BATCHES))
    usual = usual_looks(torch.cat([lesson.images for lesson in first]))
    how: dict[str, Any] = {
        "seed": seed,
        "title": f"judge of samples, seed {seed}",
        "highest_rate": LEARNING_RATE,
        "device": device,
    }
    stream, loss_of = lessons(splits, task, resolution, seed), partial(lesson_loss, usual=usual)
    with one_thread():
        trained = train_judging_network(build, stream, loss_of, steps, **how)
    # As it will come out of its file: in another order of memory, sums are rounded differently.
    return trained.to(memory_format=torch.contiguous_format)


def lessons(splits: Splits, task: LabTask, resolution: int, seed: int) -> Iterator[Lesson]:
    """Batches to learn from, without end."""
    if isinstance(splits.train, ShapesDataset):
        return _scenes(splits.train.kind, resolution, seed)
    turns = torch.Generator().manual_seed(seed)
    questions = (question_of(batch, task, turns) for batch in batches(splits.train, BATCH_SIZE, seed=seed))
    return (Lesson(*question) for question in questions)


def lesson_loss(network: JudgeNetwork, lesson: Lesson, usual: Usual) -> Tensor:
    """What `network` does not know of a lesson and how far its features repeat each other, ()."""
    device = network.shows.weight.device
    found = network.answers(lesson.images.to(device))
    looks = ((looks_of(lesson.images) - usual.mean) / usual.deviation).to(device)
    off = (found.looks - looks).square().mean(dim=0).split([3 * PARTS**2, 2 * 2, 1])
    loss = ANSWER * F.cross_entropy(found.shows, lesson.shown.to(device))
    loss = loss + sum(weight * part.mean() for weight, part in zip(LOOK, off, strict=True))
    loss = loss + CORRELATIONS * squared_correlations(found.features)
    if lesson.scenes is None or lesson.attributes is None or found.attributes is None or found.cells is None:
        return loss
    of_attributes = F.binary_cross_entropy_with_logits(
        found.attributes, lesson.attributes.to(device), reduction="none"
    )
    truth = {name: of_objects.to(device) for name, of_objects in lesson.scenes.values.items()}
    of_cells = cells_loss(found.cells, lesson.scenes.shares.to(device), truth)
    return loss + ATTRIBUTE * of_attributes.sum(dim=1).mean() + CELL * of_cells


def looks_of(images: Tensor) -> Tensor:
    """(B, LOOKS): what images (B, 3, H, W) in [-1, 1] look like, whatever they show.

    The mean colours of 4 x 4 parts. The contrast of each quarter: log of the mean squared difference of
    neighbouring pixels. The sharpness: log of the mean squared Laplacian, less that of these differences,
    so that contrast is not in it.
    """
    inner = images[..., 1:-1, 1:-1]
    down, right = images[..., 2:, 1:-1] - inner, images[..., 1:-1, 2:] - inner
    up, left = images[..., :-2, 1:-1] - inner, images[..., 1:-1, :-2] - inner
    edges = (down.square() + right.square()).mean(dim=1, keepdim=True)  # (B, 1, H - 2, W - 2)
    curved = (down + right + up + left).square().mean(dim=(1, 2, 3))
    colours = F.adaptive_avg_pool2d(images, PARTS)
    contrast = (F.adaptive_avg_pool2d(edges, 2) + FLAT).log()
    sharpness = (curved + FLAT).log() - (edges.mean(dim=(1, 2, 3)) + FLAT).log()
    return torch.cat([colours.flatten(1), contrast.flatten(1), sharpness[:, None]], dim=1)


def usual_looks(images: Tensor) -> Usual:
    """How the looks of real `images` (B, 3, H, W) vary; what does not vary at all is taken to, by little."""
    looks = looks_of(images)
    return Usual(looks.mean(dim=0), looks.std(dim=0, correction=0).clamp(min=0.01))


def squared_correlations(features: Tensor) -> Tensor:
    """() the sum over pairs of columns of `features` (B, F) of their squared correlation."""
    standardised = F.normalize(features - features.mean(dim=0), dim=0)
    return (standardised.T @ standardised).square().triu(diagonal=1).sum()


def _scenes(kind: SceneKind, resolution: int, seed: int) -> Iterator[Lesson]:
    numbers = count()
    dataset = ShapesDataset(1, resolution, seed, "judge of samples", kind)
    while True:
        scenes = [dataset.scene(next(numbers)) for _ in range(BATCH_SIZE)]
        pictures = drawn(scenes, resolution)
        shown = asked_of(scenes)[CLASS].long().argmax(dim=1)
        yield Lesson(pictures.images, shown, _attributes(scenes), pictures)


def _attributes(scenes: list[Scene]) -> Tensor:
    """(B, n) 1.0 for what each scene has: class, count, values of attributes, colour and shape together."""
    return torch.cat(list(asked_of(scenes).values()), dim=1).float()
