"""How a scene becomes pixels: signed distances, textures, smooth backgrounds, all in numpy.

Lengths are in image sides, so a scene looks the same at every resolution. A signed distance is negative
inside; over the last pixel around zero it turns into coverage, which is what smooths the edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

TEXTURE_PERIOD = 0.125  # image sides: four pixels at 32 x 32
REACH = 1.2  # no shape extends further than this many radii from its centre

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Object:
    """One object of a scene. `centre` (x, y) and `radius` in image sides, `angle` in radians."""

    shape: str
    texture: str
    colour: np.ndarray  # (3,) in [0, 1]
    centre: tuple[float, float]
    radius: float
    angle: float


class Drawing(NamedTuple):
    """A drawn scene: pixels (3, H, W) uint8, is_object (H, W) bool."""

    pixels: np.ndarray
    is_object: np.ndarray


def draw(objects: list[Object], background: np.ndarray, resolution: int) -> Drawing:
    """Draw `objects`, the later over the earlier, on a gradient through `background` (3, n, n) in [0, 1].

    A pixel belongs to the objects where they cover at least half of it.
    """
    weights = _gradient_weights(background.shape[-1], resolution)
    canvas = weights @ background.astype(np.float32) @ weights.T
    uncovered = np.ones((resolution, resolution), np.float32)
    for thing in objects:
        _draw_object(thing, canvas, uncovered)
    return Drawing((canvas * 255.0 + 0.5).astype(np.uint8), uncovered <= 0.5)


def _draw_object(thing: Object, canvas: np.ndarray, uncovered: np.ndarray) -> None:
    resolution = canvas.shape[-1]
    columns = _window(thing.centre[0], thing.radius, resolution)
    rows = _window(thing.centre[1], thing.radius, resolution)
    right = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / resolution - thing.centre[0]
    down = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5) / resolution - thing.centre[1]
    cosine, sine = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    x, y = cosine * right + sine * down, cosine * down - sine * right
    distance = SHAPES[thing.shape](x / thing.radius, y / thing.radius) * thing.radius
    coverage = _inside(distance, resolution)
    # a texture is a lighter shade of the object's colour, so that no part of it sinks into the dark
    shade = TEXTURES[thing.texture](x, y, resolution)
    colour = thing.colour[:, None, None] + (0.8 * (1.0 - thing.colour))[:, None, None] * shade
    canvas[:, rows, columns] += coverage * (colour - canvas[:, rows, columns])
    uncovered[rows, columns] *= 1.0 - coverage


def _window(centre: float, radius: float, resolution: int) -> slice:
    """Rows or columns that an object can touch: at 256 x 256 most of the image is none of them."""
    first = int((centre - REACH * radius) * resolution) - 1
    last = int((centre + REACH * radius) * resolution) + 2
    return slice(max(0, first), min(resolution, last))


def _inside(distance: np.ndarray, resolution: int) -> np.ndarray:
    """Coverage in [0, 1] of each pixel, from its centre's signed distance in image sides."""
    return np.clip(0.5 - distance * np.float32(resolution), 0.0, 1.0)


@lru_cache(maxsize=8)
def _gradient_weights(n_controls: int, resolution: int) -> np.ndarray:
    """(resolution, n_controls): cosine blending between neighbouring control points."""
    place = np.linspace(0.0, n_controls - 1.0, resolution)[:, None]
    distance = np.minimum(np.abs(place - np.arange(n_controls)), 1.0)
    return (0.5 + 0.5 * np.cos(np.pi * distance)).astype(np.float32)


# The shapes, each about as large as the unit disc.


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _length(x, y) - 1.0


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _box(x, y, 0.84, 0.84)


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _box(x, y, 1.1, 0.4)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(_box(x, y, 1.05, 0.36), _box(x, y, 0.36, 1.05))


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.8660254 * np.abs(x) - 0.5 * y, y) - 0.58


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(_length(x, y) - 0.74) - 0.29


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(_length(x, y) - 1.0, 0.8 - _length(x - 0.5, y))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points: fold the plane onto half a point, then measure to its one edge."""
    half = np.float32(np.pi / 5.0)
    radius, angle = _length(x, y), np.arctan2(y, x)
    angle = np.abs((angle + half) % (2.0 * half) - half)
    tip, notch = np.array([1.18, 0.0]), 0.52 * np.array([np.cos(half), np.sin(half)])
    normal = np.array([notch[1] - tip[1], tip[0] - notch[0]]) / np.hypot(*(tip - notch))
    a, b, c = (np.float32(number) for number in (*normal, normal @ tip))
    return radius * (a * np.cos(angle) + b * np.sin(angle)) - c


SHAPES: dict[str, Distance] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "star": _star,
    "crescent": _crescent,
    "bar": _bar,
}

# The textures: the share of the lighter shade in [0, 1] at object coordinates x, y in image sides.

_WAVE = np.float32(2.0 * np.pi / TEXTURE_PERIOD)


def _plain(x: np.ndarray, y: np.ndarray, resolution: int) -> np.ndarray:
    return np.zeros((1, 1), np.float32)


def _striped(x: np.ndarray, y: np.ndarray, resolution: int) -> np.ndarray:
    return _inside(np.sin(_WAVE * x) / _WAVE, resolution)


def _checked(x: np.ndarray, y: np.ndarray, resolution: int) -> np.ndarray:
    half = _WAVE / 2.0
    return _inside(np.sin(half * x) * np.sin(half * y) / half, resolution)


def _dotted(x: np.ndarray, y: np.ndarray, resolution: int) -> np.ndarray:
    return _inside((0.6 - np.cos(_WAVE * x) - np.cos(_WAVE * y)) / _WAVE, resolution)


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
}
