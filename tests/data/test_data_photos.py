"""Crops of the packages' photographs."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data import DataError, build_splits, photos
from mvqlab.data.photos import HELD_OUT, TRAINING, Photograph, PhotosDataset


def config(**changes: object) -> DataConfig:
    return DataConfig(name="photos", **{"resolution": 24, "train_size": 60, "validation_size": 30, **changes})


def test_training_and_held_out_photographs_are_disjoint() -> None:
    assert not {photo.path for photo in TRAINING} & {photo.path for photo in HELD_OUT}
    splits = build_splits(config())
    train = {splits.train.picture(index).label for index in range(60)}
    held_out = {splits.validation.picture(index).label for index in range(30)}
    assert train == set(range(len(TRAINING)))
    assert held_out == set(range(len(TRAINING), splits.n_classes))
    assert splits.label_meaning == "source photograph"
    assert splits.class_names[splits.validation[0]["label"]] in {photo.name for photo in HELD_OUT}


def test_every_crop_comes_from_the_photograph_its_label_names() -> None:
    """Guards labels: a crop at one scale is found again, pixel for pixel, in its photograph."""
    photograph = next(photo for photo in TRAINING if photo.name == "chelsea")
    # of its 451 x 300 pixels, a crop of 300 can only slide sideways
    pixels = PhotosDataset((photograph,), 3, 300, 0, "train").picture(2).pixels.transpose(1, 2, 0)
    whole = np.asarray(Image.open(photograph.path).convert("RGB"))
    assert any((whole[:, left : left + 300] == pixels).all() for left in range(152))


def test_the_astronaut_is_never_trained_on() -> None:
    """A figure may show her as a face that the model has not seen."""
    assert {photo.name for photo in HELD_OUT} == {"astronaut", "flower"}


@pytest.mark.parametrize(("resolution", "smallest"), [(8, 25), (32, 32), (64, 64), (500, 400)])
def test_crops_come_at_all_scales_that_the_pixels_allow(resolution: int, smallest: int) -> None:
    """From 1/16 of the shorter side or `resolution` pixels, whichever is more, to all of it."""
    rng = np.random.default_rng(0)
    squares = [photos._random_square((600, 400), resolution, rng) for _ in range(2000)]
    sides = np.array([right - left for left, _, right, _ in squares])
    assert all(0 <= left < right <= 600 and 0 <= top < bottom <= 400 for left, top, right, bottom in squares)
    assert sides.min() - smallest in (0, 1) and 400 - sides.max() in (0, 1)
    if smallest < 400:  # as many crops in each half of the zooms
        assert abs((sides < np.sqrt(400 * smallest)).mean() - 0.5) < 0.05


@pytest.mark.parametrize("resolution", [8, 33, 300])
def test_crops_have_the_resolution_and_repeat(resolution: int) -> None:
    splits, again = build_splits(config(resolution=resolution)), build_splits(config(resolution=resolution))
    image = splits.train[4]["image"]
    assert image.shape == (3, resolution, resolution)
    assert image.equal(again.train[4]["image"]) and not image.equal(splits.train[5]["image"])
    assert splits.train[4]["importance"] is None and splits.train[4]["caption"] == ""


def test_a_crop_of_a_black_sky_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The photograph is black but for one corner: without redrawing most crops would be black."""
    sky = Image.new("RGB", (400, 400))
    sky.paste("white", (300, 300, 400, 400))
    monkeypatch.setattr(photos, "decoded", lambda path: sky)
    dataset = PhotosDataset((TRAINING[0],), 40, 16, 0, "train")
    contrasts = [dataset.picture(index).pixels.std() for index in range(40)]
    assert np.mean(np.array(contrasts) > photos.FAINTEST_CROP) > 0.8


def test_a_photograph_of_one_shade_still_gives_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against redrawing for ever."""
    monkeypatch.setattr(photos, "decoded", lambda path: Image.new("RGB", (50, 30), (10, 20, 30)))
    pixels = PhotosDataset((TRAINING[0],), 1, 16, 0, "train").picture(0).pixels
    assert (pixels == np.array([10, 20, 30]).reshape(3, 1, 1)).all()


def test_only_training_crops_are_mirrored_and_only_if_asked() -> None:
    assert build_splits(config()).train.flip and not build_splits(config()).validation.flip
    assert not build_splits(config(flip=False)).train.flip


def test_a_package_without_its_photograph_is_named() -> None:
    with pytest.raises(DataError, match=r"installed scikit-image \d.* has no data/nobody\.png"):
        _ = Photograph("nobody", "scikit-image", "skimage", "data/nobody.png").path
    with pytest.raises(DataError, match=r"pip install no-such-package"):
        _ = Photograph("nobody", "no-such-package", "no_such_module", "x.png").path


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("photos must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    photos.decoded.cache_clear()
    assert len({build_splits(config()).train[index]["label"] for index in range(40)}) > 4


def test_the_hash_follows_the_settings() -> None:
    hashes = [
        build_splits(config(**changes)).data_hash
        for changes in ({}, {"resolution": 25}, {"seed": 1}, {"train_size": 61}, {"flip": False})
    ]
    assert len(set(hashes)) == 5
    assert build_splits(config(workers=3)).data_hash == hashes[0], "workers do not change the data"


def test_every_photograph_is_credited() -> None:
    for photograph in TRAINING + HELD_OUT:
        assert photograph.file.rsplit("/", 1)[1] in photos.__doc__
