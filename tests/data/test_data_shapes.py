"""Drawn scenes: true masks, honest labels and captions, one look at every resolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvqlab.config import DataConfig
from mvqlab.data import build_splits
from mvqlab.data.drawing import SHAPES, TEXTURES, Object, draw
from mvqlab.data.shapes import (
    COLOURS,
    GROUNDS,
    SHAPE_NAMES,
    ShapesDataset,
    caption_of,
    random_scene,
    simple_scene,
)

FULL_HASH = "b33e1a37cefa"  # of 5 and 3 full scenes at 24 pixels, from seed 0
DARK = np.full((3, 3, 3), 0.125)


def one_object(shape: str, texture: str = "plain", radius: float = 0.3, angle: float = 0.0) -> Object:
    return Object(shape, texture, np.array([0.9, 0.5, 0.1], np.float32), (0.45, 0.5), radius, angle)


# What each shape contains, written a second time with plain comparisons; r, x, y in radii.
def _in_star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angles, radii = np.arange(10) * np.pi / 5, np.array([1.18, 0.52] * 5)
    corners = list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):  # even-odd rule
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


INSIDE = {
    "disc": lambda x, y: x**2 + y**2 < 1,
    "square": lambda x, y: (abs(x) < 0.84) & (abs(y) < 0.84),
    "bar": lambda x, y: (abs(x) < 1.1) & (abs(y) < 0.4),
    "cross": lambda x, y: ((abs(x) < 1.05) & (abs(y) < 0.36)) | ((abs(x) < 0.36) & (abs(y) < 1.05)),
    "ring": lambda x, y: (x**2 + y**2 < 1.03**2) & (x**2 + y**2 > 0.45**2),
    "crescent": lambda x, y: (x**2 + y**2 < 1) & ((x - 0.5) ** 2 + y**2 > 0.8**2),
    "triangle": lambda x, y: (y < 0.58) & (y > 2 * (np.sqrt(0.75) * abs(x) - 0.58)),
    "star": _in_star,
}


@pytest.mark.parametrize("shape", SHAPE_NAMES)
def test_a_shape_covers_the_pixels_that_plain_geometry_says(shape: str) -> None:
    """Guards the signed distances, the rotation's sense, and x against y (the centre is off the middle)."""
    resolution, angle = 101, 0.4
    thing = one_object(shape, angle=angle)
    drawn = draw([thing], DARK, resolution).is_object
    rows, columns = np.mgrid[:resolution, :resolution]
    right = ((columns + 0.5) / resolution - thing.centre[0]) / thing.radius
    down = ((rows + 0.5) / resolution - thing.centre[1]) / thing.radius
    x = np.cos(angle) * right + np.sin(angle) * down
    y = np.cos(angle) * down - np.sin(angle) * right
    expected = INSIDE[shape](x, y)
    # at sharp corners half a pixel covered is not quite the centre covered
    assert (drawn != expected).sum() < 0.02 * expected.sum()


def test_every_shape_and_texture_stays_within_its_window() -> None:
    """Guards REACH: an object drawn in its window only must equal one drawn on the whole canvas."""
    for shape, distance in SHAPES.items():
        angles = np.linspace(0, 2 * np.pi, 361)
        assert (distance(1.2 * np.cos(angles), 1.2 * np.sin(angles)) > 0).all(), shape


def test_plain_objects_have_their_colour_and_later_ones_lie_on_top() -> None:
    below = one_object("square", radius=0.4)
    above = Object("disc", "plain", np.array([0.2, 0.4, 1.0], np.float32), (0.45, 0.5), 0.1, 0.0)
    pixels = draw([below, above], DARK, 64).pixels
    np.testing.assert_array_equal(pixels[:, 32, 29], [51, 102, 255])
    np.testing.assert_array_equal(pixels[:, 12, 29], [230, 128, 26])
    np.testing.assert_array_equal(pixels[:, 1, 62], [32, 32, 32])


def test_the_mask_is_the_union_and_a_hole_is_background() -> None:
    ring = one_object("ring")
    mask = draw([ring], DARK, 64).is_object
    assert not mask[32, 28] and mask[32, int((0.45 + 0.3 * 0.74) * 64)]
    small = Object("square", "plain", np.ones(3, np.float32), (0.45, 0.5), 0.05, 0.0)
    with_hole_filled = draw([ring, small], DARK, 64).is_object
    assert with_hole_filled[32, 28]
    assert (with_hole_filled | mask == with_hole_filled).all(), (
        "a later object must not erase an earlier mask"
    )


def test_the_hole_of_a_ring_that_lies_on_an_object_is_not_background() -> None:
    square, ring = one_object("square", radius=0.4), one_object("ring", radius=0.15)
    assert draw([square, ring], DARK, 64).is_object[32, 28]


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_uses_a_fair_share_of_both_shades(texture: str) -> None:
    pixels = draw([one_object("square", texture)], DARK, 96).pixels
    inside = pixels[:, 36:60, 31:55].reshape(3, -1)  # two periods each way
    n_shades = len(np.unique(inside[2] > 120))
    assert n_shades == (1 if texture == "plain" else 2)
    if texture != "plain":
        assert 0.2 < (inside[2] > 120).mean() < 0.8


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), resolution=st.sampled_from([8, 17, 32, 50]))
def test_everything_that_a_scene_shows_lies_inside_the_image(seed: int, resolution: int) -> None:
    scene = random_scene(np.random.default_rng(seed))
    radii = [thing.radius for thing in scene.objects]
    assert radii == sorted(radii, reverse=True), (
        "the label is the first object's shape: it must be the largest"
    )
    mask = draw(scene.objects, scene.background, 8 * resolution).is_object
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()
    small = draw(scene.objects, scene.background, resolution)
    assert small.pixels.shape == (3, resolution, resolution) and small.pixels.dtype == np.uint8


def test_no_object_is_buried_under_the_others() -> None:
    """Guards the placing: a caption must not name what cannot be seen."""
    shares = []
    for seed in range(150):
        scene = random_scene(np.random.default_rng(seed))
        for n, thing in enumerate(scene.objects):
            alone = draw([thing], DARK, 64).is_object
            others = (
                draw(scene.objects[n + 1 :], DARK, 64).is_object if scene.objects[n + 1 :] else ~alone & False
            )
            shares.append((alone & ~others).sum() / alone.sum())
    assert min(shares) > 0.5 and np.mean(np.array(shares) > 0.9) > 0.9


def test_objects_stand_out_and_hold_most_of_the_detail() -> None:
    """Guards the reason for this data set: what matters is where the mask says, and it can be seen."""
    dataset = ShapesDataset(120, 32, seed=3, split="train")
    edges_inside = edges = 0.0
    for picture in map(dataset.picture, range(120)):
        pixels, mask = picture.pixels.astype(float), picture.is_object
        assert np.abs(pixels[:, mask].mean(1) - pixels[:, ~mask].mean(1)).max() > 40
        steps = np.abs(np.diff(pixels, axis=2)).sum(0)
        near = mask.copy()
        near[:, 1:] |= mask[:, :-1]
        near[:, :-1] |= mask[:, 1:]
        edges += steps.sum()
        edges_inside += (steps * near[:, 1:]).sum()
    assert edges_inside / edges > 0.75


def test_a_scene_looks_the_same_at_every_resolution() -> None:
    """Guards against settings in pixels: index 7 at 96 pixels, averaged down, is index 7 at 32."""
    for index in range(12):
        large = ShapesDataset(12, 96, 5, "train").picture(index)
        small = ShapesDataset(12, 32, 5, "train").picture(index)
        averaged = large.pixels.reshape(3, 32, 3, 32, 3).mean((2, 4))
        assert np.abs(averaged - small.pixels).mean() < 3.0
        assert (large.label, large.caption) == (small.label, small.caption)


def test_captions_read_like_english() -> None:
    assert caption_of(["red striped disc"]) == "a red striped disc"
    assert caption_of(["orange bar", "small green square"]) == "an orange bar and a small green square"
    assert caption_of(["red bar", "small cyan ring", "small orange star"]) == (
        "a red bar, a small cyan ring and a small orange star"
    )


def test_captions_and_labels_tell_what_is_drawn() -> None:
    dataset = ShapesDataset(60, 24, 1, "validation")
    for index in range(60):
        scene, picture = dataset.scene(index), dataset.picture(index)
        assert SHAPE_NAMES[picture.label] == scene.objects[0].shape
        assert len(scene.descriptions) == len(scene.objects) in (1, 2, 3)
        for thing, words in zip(scene.objects, scene.descriptions, strict=True):
            colour = next(word for word in words.split() if word in COLOURS)
            assert thing.shape == words.split()[-1]
            assert (thing.texture in words) == (thing.texture != "plain")
            assert ("small" in words) == (thing.radius < 0.16)
            assert min(COLOURS, key=lambda name: np.abs(COLOURS[name] - thing.colour).sum()) == colour
            assert words in picture.caption


def test_scenes_stay_what_they_were() -> None:
    """Guards the order of random choices: shipped models and stored results are of these very scenes."""
    dataset = ShapesDataset(4, 8, 0, "train")
    assert [dataset.caption(index) for index in range(4)] == [
        "a cyan dotted bar and a small green striped cross",
        "an orange square, a small pink bar and a small red checked bar",
        "a small red square",
        "a yellow checked star and a small red checked cross",
    ]
    first = dataset.scene(0).objects[0]
    assert first.centre == pytest.approx((0.3805341525593984, 0.302760015270611))
    assert first.angle == pytest.approx(0.28123171413742326)


def test_full_scenes_have_the_hash_that_they_always_had() -> None:
    """Guards stored results and shipped models, which name their data by it."""
    splits = build_splits(DataConfig(resolution=24, train_size=5, validation_size=3))
    assert splits.data_hash == FULL_HASH
    simple = build_splits(DataConfig(scene="simple", resolution=24, train_size=5, validation_size=3))
    assert simple.data_hash != FULL_HASH and simple.train.kind == simple.validation.kind == "simple"


def test_a_simple_scene_is_one_large_plain_object_before_a_flat_ground() -> None:
    dataset = ShapesDataset(60, 64, 1, "train", kind="simple")
    for index in range(60):
        scene, picture = dataset.scene(index), dataset.picture(index)
        (thing,), (attributes,) = scene.objects, scene.attributes
        assert 1 / 4 <= thing.radius <= 1 / 3 and abs(np.degrees(thing.angle)) <= 6
        assert attributes == (thing.shape, "plain", attributes.colour, "large")
        assert picture.caption in {f"{article} {attributes.colour} {thing.shape}" for article in ("a", "an")}
        assert dataset.caption(index) == picture.caption
        assert SHAPE_NAMES[picture.label] == thing.shape
        mask = picture.is_object
        assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()
        assert _colours(picture.pixels[:, mask], COLOURS) == {attributes.colour}
        assert len(_colours(picture.pixels[:, ~mask], GROUNDS)) == 1


def _colours(pixels: np.ndarray, table: dict[str, tuple[float, float, float]]) -> set[str]:
    """Which of `table` are among pixels (3, n), to the bit."""
    found = {tuple(pixel) for pixel in pixels.T.tolist()}
    return {name for name in table if tuple(int(255 * part + 0.5) for part in table[name]) in found}


def test_every_colour_stands_out_from_every_ground() -> None:
    for colour in COLOURS.values():
        for ground in GROUNDS.values():
            assert np.abs(np.subtract(colour, ground)).max() >= 0.4, (colour, ground)


def test_simple_scenes_hold_all_shapes_colours_and_grounds_equally_often() -> None:
    scenes = [simple_scene(np.random.default_rng(seed)) for seed in range(1600)]
    for values, n_values in (
        ([scene.objects[0].shape for scene in scenes], 8),
        ([scene.attributes[0].colour for scene in scenes], 8),
        ([tuple(scene.background.flat) for scene in scenes], 4),
    ):
        counts = np.array([values.count(value) for value in sorted(set(values))])
        assert len(counts) == n_values
        assert (np.abs(counts - 1600 / n_values) < 0.3 * 1600 / n_values).all()


def test_simple_scenes_stay_what_they_were() -> None:
    """Guards the order of random choices, as for the full ones."""
    dataset = ShapesDataset(4, 8, 0, "train", kind="simple")
    assert [dataset.caption(index) for index in range(4)] == [
        "a red star",
        "a green disc",
        "a pink ring",
        "a red crescent",
    ]


def test_all_classes_and_counts_come_about_equally_often() -> None:
    dataset = ShapesDataset(1600, 8, 0, "train")
    scenes = [dataset.scene(index) for index in range(1600)]
    shapes = np.bincount([SHAPE_NAMES.index(scene.objects[0].shape) for scene in scenes], minlength=8)
    counts = np.bincount([len(scene.objects) for scene in scenes], minlength=4)[1:]
    assert shapes.min() > 130 and shapes.max() < 280
    assert counts.min() > 430 and counts.max() < 640


def test_splits_seeds_and_settings_differ_and_repeat() -> None:
    config = DataConfig(resolution=24, train_size=5, validation_size=3)
    splits, again = build_splits(config), build_splits(config)
    other = build_splits(config.model_copy(update={"seed": -4}))
    assert (len(splits.train), len(splits.validation)) == (5, 3)
    assert splits.train[2]["image"].equal(again.train[2]["image"])
    assert not splits.train[2]["image"].equal(splits.validation[2]["image"])
    assert not splits.train[2]["image"].equal(other.train[2]["image"])
    assert splits.data_hash == again.data_hash != other.data_hash
    assert splits.class_names == SHAPE_NAMES and splits.n_classes == 8
    assert splits.label_meaning == "object class"
