"""Drawn scenes, for which the important pixels are known exactly.

A full scene has one to three objects, bright and often textured, before a dark and smooth background: what a
model must spend codes on is where the objects are. A simple scene has one large, plain object before a flat
ground, some 22 bits in all: so little that a small model can learn to draw it well.

Scenes are chosen in image sides, so index 7 shows the same scene at every resolution, and are drawn when
asked for: nothing is stored or downloaded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mvqlab.config import DataConfig, SceneKind
from mvqlab.data.dataset import Picture, PictureDataset, Splits
from mvqlab.data.drawing import REACH, SHAPES, TEXTURES, Object, draw
from mvqlab.data.seeds import generator, short_hash

DRAWING_VERSION = 1  # raise it when the same index would look different

MAX_OBJECTS = 3
SIZES = {"small": (0.11, 0.14), "large": (0.18, 0.24)}  # radius, image sides
COLOURS = {
    "red": (0.90, 0.16, 0.16),
    "orange": (0.96, 0.52, 0.10),
    "yellow": (0.95, 0.84, 0.15),
    "green": (0.15, 0.72, 0.25),
    "cyan": (0.15, 0.78, 0.85),
    "blue": (0.16, 0.38, 0.95),
    "purple": (0.62, 0.25, 0.85),
    "pink": (0.97, 0.45, 0.70),
}
PLACES_TRIED = 24  # before the emptiest place is taken
CLEARANCE = 0.85  # of two radii's sum: objects may touch and overlap a little

# Simple scenes: 3 bits of shape, 3 of colour, 2 of ground; place, size and turn, as far as 32 pixels show
# them, hold some 14 more.
SIMPLE_VERSION = 1  # raise it when the same index would look different
SIMPLE_RADIUS = (1 / 4, 1 / 3)  # image sides
SIMPLE_TURN = np.radians(6.0)  # at most, either way
GROUNDS = {  # flat and muted, two dark and two light: each of COLOURS stands out from each
    "charcoal": (0.13, 0.13, 0.14),
    "umber": (0.27, 0.19, 0.12),
    "mist": (0.80, 0.86, 0.89),
    "ivory": (0.95, 0.92, 0.85),
}

SHAPE_NAMES = list(SHAPES)
ATTRIBUTES = {  # what a caption says of an object, and the values; in the order in which they are drawn
    "shape": SHAPE_NAMES,
    "texture": list(TEXTURES),
    "colour": list(COLOURS),
    "size": list(SIZES),
}
UNSAID = {"large", "plain"}  # values that a caption says by leaving the word out


class Attributes(NamedTuple):
    """What a caption says of one object, a value of `ATTRIBUTES` each."""

    shape: str
    texture: str
    colour: str
    size: str

    @property
    def words(self) -> str:
        """Such as "small red striped disc"."""
        return " ".join(
            word for word in (self.size, self.colour, self.texture, self.shape) if word not in UNSAID
        )


class Scene(NamedTuple):
    """What one picture shows: objects from the largest to the smallest, and the background's colours."""

    objects: list[Object]
    attributes: list[Attributes]  # one an object
    background: np.ndarray  # (3, n, n) control points of a smooth gradient, in [0, 1]; n = 1: flat

    @property
    def descriptions(self) -> list[str]:
        """The words for each object, such as "small red striped disc"."""
        return [of_object.words for of_object in self.attributes]


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene at random."""
    drawn = [_random_look(rng) for _ in range(rng.integers(1, MAX_OBJECTS + 1))]
    drawn.sort(key=lambda look: -look.radius)
    objects: list[Object] = []
    for look in drawn:
        centre = _free_place(look.radius, objects, rng)
        shape, texture = look.attributes.shape, look.attributes.texture
        objects.append(Object(shape, texture, look.shade, centre, look.radius, rng.uniform(0.0, 2.0 * np.pi)))
    return Scene(objects, [look.attributes for look in drawn], _random_background(rng))


def simple_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene at random that has one large, plain object before one of `GROUNDS`."""
    shape, colour = (str(rng.choice(values)) for values in (SHAPE_NAMES, list(COLOURS)))
    ground = list(GROUNDS.values())[rng.integers(len(GROUNDS))]
    radius = rng.uniform(*SIMPLE_RADIUS)
    centre_x, centre_y = rng.uniform(REACH * radius, 1.0 - REACH * radius, 2).tolist()
    turn = rng.uniform(-SIMPLE_TURN, SIMPLE_TURN)
    shade = np.array(COLOURS[colour], np.float32)
    thing = Object(shape, "plain", shade, (centre_x, centre_y), radius, turn)
    background = np.array(ground).reshape(3, 1, 1)
    return Scene([thing], [Attributes(shape, "plain", colour, "large")], background)


def caption_of(descriptions: list[str]) -> str:
    """A caption such as "a red striped disc and a small green square"."""
    phrases = [f"{'an' if words[0] in 'aeiou' else 'a'} {words}" for words in descriptions]
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


class ShapesDataset(PictureDataset):
    """`size` drawn scenes, full or simple ones; the label is the shape of the largest object."""

    def __init__(self, size: int, resolution: int, seed: int, split: str, kind: SceneKind = "full") -> None:
        super().__init__(size, resolution)  # never mirrored: there are as many scenes as one asks for
        self.seed, self.split, self.kind = seed, split, kind

    def scene(self, index: int) -> Scene:
        """What picture `index` shows."""
        if self.kind == "simple":
            return simple_scene(generator(self.seed, self.split, "simple", index))
        return random_scene(generator(self.seed, self.split, index))

    def picture(self, index: int) -> Picture:
        scene = self.scene(index)
        drawing = draw(scene.objects, scene.background, self.resolution)
        label = SHAPE_NAMES.index(scene.objects[0].shape)
        return Picture(drawing.pixels, label, caption_of(scene.descriptions), drawing.is_object)

    def caption(self, index: int) -> str:
        return caption_of(self.scene(index).descriptions)


def shapes_splits(config: DataConfig) -> Splits:
    """The drawn training and held-out scenes; nothing is drawn yet."""
    settings = (config.resolution, config.train_size, config.validation_size, config.seed)
    # full scenes are hashed as they were before there were others: their results stay theirs
    kind = () if config.scene == "full" else (config.scene, SIMPLE_VERSION)
    common: dict[str, Any] = {"resolution": config.resolution, "seed": config.seed, "kind": config.scene}
    return Splits(
        train=ShapesDataset(config.train_size, split="train", **common),
        validation=ShapesDataset(config.validation_size, split="validation", **common),
        class_names=SHAPE_NAMES,
        label_meaning="object class",
        data_hash=short_hash("shapes", DRAWING_VERSION, *settings, *kind),
    )


class _Look(NamedTuple):
    attributes: Attributes
    shade: np.ndarray  # (3,) in [0, 1], near the colour of that name
    radius: float


def _random_look(rng: np.random.Generator) -> _Look:
    choices = rng.integers(tuple(len(values) for values in ATTRIBUTES.values()))
    values = [values[choice] for values, choice in zip(ATTRIBUTES.values(), choices, strict=True)]
    attributes = Attributes(*values)
    shade = np.clip(COLOURS[attributes.colour] + rng.uniform(-0.05, 0.05, 3), 0.0, 1.0).astype(np.float32)
    return _Look(attributes, shade, rng.uniform(*SIZES[attributes.size]))


def _free_place(radius: float, placed: list[Object], rng: np.random.Generator) -> tuple[float, float]:
    """A centre whose object lies within the image and is clear of the others, as far as there is room."""
    margin = REACH * radius
    places = rng.uniform(margin, 1.0 - margin, (PLACES_TRIED, 2))
    room = np.full(PLACES_TRIED, np.inf)
    for other in placed:
        distance = np.hypot(*(places - other.centre).T)
        room = np.minimum(room, distance - CLEARANCE * (radius + other.radius))
    best = int(np.argmax(np.minimum(room, 0.0)))  # the first that is clear, else the one with most room
    return float(places[best, 0]), float(places[best, 1])


def _random_background(rng: np.random.Generator) -> np.ndarray:
    """(3, 3, 3) control points, rgb first: one dark, muted colour that varies a little over the image."""
    light = rng.uniform(0.10, 0.24) + rng.uniform(-0.06, 0.06, (1, 3, 3))
    tint = rng.uniform(-0.06, 0.06, (3, 1, 1)) + rng.uniform(-0.03, 0.03, (3, 3, 3))
    return np.clip(light + tint, 0.0, 1.0)
