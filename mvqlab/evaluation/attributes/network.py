"""The network that finds the objects of a drawn scene and names their attributes, and how it learns to.

It cuts an image into 8 x 8 cells and says of each how much of an object's centre lies there, and which shape,
texture, colour and size that object would have. An object's centre is shared by the four cells around it, so
that nothing jumps where it crosses a border, and sums over the cells count objects (the idea of Lempitsky and
Zisserman 2010). Labels come from the scenes themselves, so they are true.

Learning from the place of every object is what makes it good in a minute: a network of the same size that
learned from the image as a whole which shapes are somewhere in it found 4 in 10 of them, this one 99.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.config import SceneKind
from mvqlab.data.drawing import draw
from mvqlab.data.pixels import from_uint8
from mvqlab.data.shapes import ATTRIBUTES, MAX_OBJECTS, Scene, ShapesDataset
from mvqlab.evaluation.judging_networks import convolution, train_judging_network
from mvqlab.support.one_thread import one_thread

RECIPE_VERSION = 1  # raise it when the network or its training changes
RESOLUTION = 32  # pixels: what it sees of any image
SIDE = 8  # cells
BATCH_SIZE = 16
LEARNING_RATE = 1e-2  # at its highest
N_VALUES = [len(values) for values in ATTRIBUTES.values()]
CELL_LOGITS = 2 + sum(N_VALUES)  # of a cell: a centre, the largest object's, each value


class Cells(NamedTuple):
    """What the network says of the L = 64 cells of each image, as logits.

    is_centre (B, L): an object's centre lies here. is_largest (B, L): of all cells, it is the largest
    object's that lies here. values: (B, L, n) for each of `ATTRIBUTES`, if there is an object.
    """

    is_centre: Tensor
    is_largest: Tensor
    values: dict[str, Tensor]


class AttributeNetwork(nn.Module):
    """Four convolutions and a linear head on every cell. Larger images are averaged down to 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, 48, stride=2, kernel=5),
            convolution(48, 64),
            convolution(64, 96, stride=2),
            convolution(96, 128),
        )
        self.head = nn.Conv2d(128, CELL_LOGITS, 1)

    def forward(self, images: Tensor) -> Cells:
        """Logits of every cell of images (B, 3, H, W) in [-1, 1]."""
        small = F.adaptive_avg_pool2d(images, RESOLUTION)
        return cells_of(self.head(self.body(small)))


def cells_of(logits: Tensor) -> Cells:
    """What a head's `logits` (B, CELL_LOGITS, 8, 8) say of each cell."""
    by_cell = logits.flatten(2).mT  # (B, L, CELL_LOGITS)
    is_centre, is_largest, *values = by_cell.split([1, 1, *N_VALUES], dim=2)
    return Cells(is_centre[..., 0], is_largest[..., 0], dict(zip(ATTRIBUTES, values, strict=True)))


class DrawnScenes(NamedTuple):
    """Scenes as pictures and as what they show.

    images (B, 3, H, W) in [-1, 1]. shares (B, MAX_OBJECTS, L): of each object's centre among the cells,
    largest object first, all 0 where there is none. values: (B, MAX_OBJECTS) for each of `ATTRIBUTES`.
    """

    images: Tensor
    shares: Tensor
    values: dict[str, Tensor]


def drawn(scenes: Sequence[Scene], resolution: int = RESOLUTION) -> DrawnScenes:
    """Draw `scenes` at `resolution` pixels, and write down what they show."""
    pixels = np.stack([draw(scene.objects, scene.background, resolution).pixels for scene in scenes])
    shares = torch.zeros(len(scenes), MAX_OBJECTS, SIDE**2)
    values = {name: torch.zeros(len(scenes), MAX_OBJECTS, dtype=torch.long) for name in ATTRIBUTES}
    for row, scene in enumerate(scenes):
        for n, (thing, attributes) in enumerate(zip(scene.objects, scene.attributes, strict=True)):
            shares[row, n] = centre_shares(*thing.centre)
            for name, value in attributes._asdict().items():
                values[name][row, n] = ATTRIBUTES[name].index(value)
    return DrawnScenes(from_uint8(torch.from_numpy(pixels)), shares, values)


def centre_shares(x: float, y: float) -> Tensor:
    """(L,): the shares of the cells around a centre (x, y), in image sides; bilinear, and 1 together."""
    middles = (torch.arange(SIDE) + 0.5) / SIDE
    across, down = ((1.0 - SIDE * (middles - place).abs()).clamp(min=0.0) for place in (x, y))
    return torch.outer(down, across).flatten()


def cells_loss(cells: Cells, shares: Tensor, values: dict[str, Tensor]) -> Tensor:
    """Cross-entropies () of centres, of the largest object's place, and of each attribute, summed.

    shares, values: as in `DrawnScenes`. An attribute is asked for in the cells that share an object's
    centre, by their shares.
    """
    centres = shares.sum(dim=1).clamp(max=1.0)
    of_centres = F.binary_cross_entropy_with_logits(cells.is_centre, centres, reduction="none")
    loss = of_centres.sum(dim=1).mean() + F.cross_entropy(cells.is_largest, shares[:, 0])
    for name, logits in cells.values.items():
        truth = F.one_hot(values[name], logits.shape[2]).to(shares.dtype)  # (B, objects, n)
        wanted = torch.einsum("bol,bon->bln", shares, truth)
        loss = loss - (wanted * logits.log_softmax(dim=2)).sum() / shares.sum()
    return loss


def train_attribute_network(
    steps: int, seed: int = 0, device: torch.device | str = "cpu", scene: SceneKind = "full"
) -> AttributeNetwork:
    """Train for `steps` batches of 16 scenes, each drawn once; in evaluation mode after."""
    dataset = ShapesDataset(steps * BATCH_SIZE, RESOLUTION, seed, "attribute detector", scene)
    batches = (
        drawn([dataset.scene(index) for index in range(first, first + BATCH_SIZE)])
        for first in range(0, len(dataset), BATCH_SIZE)
    )

    def loss_of(network: AttributeNetwork, batch: DrawnScenes) -> Tensor:
        truth = {name: of_objects.to(device) for name, of_objects in batch.values.items()}
        return cells_loss(network(batch.images.to(device)), batch.shares.to(device), truth)

    how: dict[str, Any] = {
        "seed": seed,
        "title": "attribute detector",
        "highest_rate": LEARNING_RATE,
        "device": device,
    }
    with one_thread():
        return train_judging_network(AttributeNetwork, batches, loss_of, steps, **how)
