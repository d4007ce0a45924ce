"""What drawn scenes are asked to show, what is found in pictures of them, and how often that is the same.

    class              the shape of the largest object, which is the label
    count              the number of objects
    shape, texture,    values that at least one object has
    colour, size
    colour and shape   of one and the same object: a red disc, not something red and some disc

Each is a table of values, a row a picture, True where the value is asked for or found. Accuracy is the share
of the values asked for that are found in their own picture. Chance is the same share in the pictures that
were made for the others: what pictures like these find that were drawn without listening. Accuracy is blind
to what is there besides: a picture that shows every colour shows the one asked for, too. Precision is not: it
is the share of the values found that were asked for of their picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mvqlab.data.shapes import ATTRIBUTES, MAX_OBJECTS, SHAPE_NAMES, Scene
from mvqlab.evaluation.attributes.network import Cells
from mvqlab.evaluation.intervals import exact_share

CLASS, COUNT, BOUND = "class", "count", "colour and shape"
JUDGED = (CLASS, COUNT, *ATTRIBUTES, BOUND)
NAMED = (COUNT, *ATTRIBUTES, BOUND)  # what a caption says of a picture

Values = dict[str, Tensor]  # (B, n) bool each


class Agreement(NamedTuple):
    """How often what was asked for is found.

    asked, found: numbers of values. accuracy: found of asked, with its exact 95 % interval, to which the
    values of one picture count as independent of each other. chance: see above; NaN for one picture.
    seen: values that pictures show, asked for or not. precision: found of seen, NaN where none is.
    """

    asked: int
    found: int
    accuracy: float
    low: float
    high: float
    chance: float
    seen: int
    precision: float


def asked_of(scenes: Sequence[Scene]) -> Values:
    """What each of `scenes` shows, as its caption and its label say."""
    sizes = {CLASS: len(SHAPE_NAMES), COUNT: MAX_OBJECTS} | {
        name: len(ATTRIBUTES[name]) for name in ATTRIBUTES
    }
    asked = {name: torch.zeros(len(scenes), size, dtype=torch.bool) for name, size in sizes.items()}
    bound = torch.zeros(len(scenes), sizes["colour"], sizes["shape"], dtype=torch.bool)
    for row, scene in enumerate(scenes):
        asked[CLASS][row, SHAPE_NAMES.index(scene.attributes[0].shape)] = True
        asked[COUNT][row, len(scene.attributes) - 1] = True
        for attributes in scene.attributes:
            places = {name: ATTRIBUTES[name].index(value) for name, value in attributes._asdict().items()}
            for name, place in places.items():
                asked[name][row, place] = True
            bound[row, places["colour"], places["shape"]] = True
    return {**asked, BOUND: bound.flatten(1)}


def found_in(cells: Cells) -> Values:
    """What the network's `cells` say that pictures show.

    A value is found where the number of objects that have it, summed over the cells, is expected to be a
    half or more; the count is the nearest whole number.
    """
    centres = cells.is_centre.sigmoid()
    chances = {name: logits.softmax(dim=2) for name, logits in cells.values.items()}
    count = centres.sum(dim=1, keepdim=True).round()
    largest = torch.einsum("bl,bln->bn", cells.is_largest.softmax(dim=1), chances["shape"])
    bound = torch.einsum("bl,blc,bls->bcs", centres, chances["colour"], chances["shape"])
    expected = {name: torch.einsum("bl,bln->bn", centres, values) for name, values in chances.items()}
    return {
        CLASS: largest == largest.amax(dim=1, keepdim=True),
        COUNT: count == torch.arange(1, MAX_OBJECTS + 1, device=count.device),
        **{name: number >= 0.5 for name, number in expected.items()},
        BOUND: bound.flatten(1) >= 0.5,
    }


def agreement(asked: Tensor, found: Tensor) -> Agreement:
    """How often the values `asked` (B, n) bool of pictures are among those `found` (B, n) bool in them.

    Raises ValueError if nothing is asked for.
    """
    n_asked = int(asked.sum())
    if n_asked == 0:
        raise ValueError("nothing was asked for, so nothing can be found")
    crossed = asked.double() @ found.double().T  # (B, B): values asked for in one that are found in another
    own = crossed.diagonal().sum()
    others, seen = len(asked) - 1, int(found.sum())
    interval = exact_share(int(own), n_asked)
    return Agreement(
        asked=n_asked,
        found=int(own),
        accuracy=interval.value,
        low=interval.low,
        high=interval.high,
        chance=float(crossed.sum() - own) / (n_asked * others) if others else float("nan"),
        seen=seen,
        precision=int(own) / seen if seen else float("nan"),
    )
