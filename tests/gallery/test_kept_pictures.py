"""The kept pictures: sizes, order, crisp pixels, and the same bytes from the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from tiny_runs import write_run

from mvqlab.cli import main as cli
from mvqlab.evaluation.images.masked_image import EncodedImage
from mvqlab.gallery import kept
from mvqlab.gallery import pictures as made
from mvqlab.gallery.asked import KeptError
from mvqlab.models.mqvae import TokenModel
from mvqlab.plots import mask_moving
from mvqlab.plots.mask_moving import (
    BACK,
    RATIOS,
    STILL_RATIOS,
    STOP,
    Stop,
    moving,
    save_moving,
)
from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.sheet import GAP, MARGIN, SMALL, Row, enlarged, sheet, width_of
from mvqlab.plots.style import DROPPED
from mvqlab.widgets import screenshot
from mvqlab.widgets.browser import NoBrowserError


def some_images(n: int = 3, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def some_stops(images: np.ndarray) -> list[Stop]:
    """Of 16 regions an image as many are kept as each ratio says, the first ones."""
    stops = []
    for ratio in RATIOS:
        kept = np.arange(16).reshape(4, 4) < max(1, round(16 * (1 - ratio)))
        stops.append(Stop(ratio, np.stack([kept] * len(images)), images[::-1].copy()))
    return stops


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Tiny runs of both stages; instead of emoji, which take long to render, noise, four images at most."""

    def noise(model: TokenModel, n: int = made.N_GROUPS) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        return list(torch.rand(min(n, 4), 3, 16, 16, generator=generator) * 2 - 1)

    monkeypatch.setattr(made, "one_of_each_group", noise)
    return write_run(tmp_path / "runs", "classes")


def test_enlarged_pixels_stay_squares_of_one_colour() -> None:
    image = some_images(1)[0]
    large = np.asarray(enlarged(image, 3))
    assert large.shape == (48, 48, 3)
    for down in range(3):
        for right in range(3):
            assert np.array_equal(large[down::3, right::3], image)


def test_a_sheet_is_as_large_as_what_it_holds_and_shows_every_image_where_it_belongs() -> None:
    images = some_images(4)
    plain = np.asarray(sheet([Row(images[:2]), Row(images[2:])], 2))
    assert plain.shape == (2 * MARGIN + 64 + GAP, 2 * MARGIN + 64 + GAP, 3)
    for number, image in enumerate(images):
        top, left = (MARGIN + place * (32 + GAP) for place in divmod(number, 2))
        assert np.array_equal(plain[top : top + 32 : 2, left : left + 32 : 2], image)
    named = sheet([Row(images[:2], "kept"), Row(images[2:], "what\ncomes back")], 2)
    assert named.width == plain.shape[1] + width_of("comes back", SMALL) + 2 * GAP


def test_words_that_are_wider_than_the_sheet_are_broken_and_none_is_lost() -> None:
    row = [Row(some_images(3))]
    height = sheet(row, 2).height
    short, long = sheet(row, 2, foot=["short"]), sheet(row, 2, foot=["several words " * 8])
    assert short.width == long.width == 2 * MARGIN + 3 * 32 + 2 * GAP
    assert height < short.height < long.height
    headed = sheet(row, 2, columns=["a", "T-shirt or top", "b"])
    assert headed.height > sheet(row, 2, columns=["a", "b", "c"]).height


def test_dropped_regions_are_one_grey_and_kept_ones_untouched() -> None:
    image = some_images(1)[0]
    is_kept = np.eye(4, dtype=bool)
    shown = hide_dropped(image, is_kept, fading=1.0)
    assert np.array_equal(shown[:4, :4], image[:4, :4]) and np.array_equal(shown[12:, 12:], image[12:, 12:])
    assert (shown[:4, 4:] == DROPPED).all()


def test_ratios_rise_from_nothing_to_95_percent_and_the_still_shows_some_of_them() -> None:
    assert RATIOS[0] == 0.0 and RATIOS[-1] == 0.95 and len(RATIOS) == 20
    assert list(RATIOS) == sorted(RATIOS) and set(STILL_RATIOS) <= set(RATIOS)


def test_a_caption_says_the_share_and_the_codes() -> None:
    stop = some_stops(some_images())[15]
    assert stop.caption == "75 % dropped: 4 of 16 codes"


def test_frames_go_forth_and_back_are_equally_large_and_close_the_loop() -> None:
    images = some_images()
    frames = moving(images, some_stops(images), ["credit"])
    pictures, milliseconds = zip(*frames, strict=True)
    assert len({picture.size for picture in pictures}) == 1
    assert len(frames) == 20 + 6
    assert milliseconds[1] == STOP and milliseconds[0] == milliseconds[19] > STOP
    assert set(milliseconds[20:]) == {BACK}
    # back over stops that were shown, ending next to the first
    assert [pictures.index(picture) for picture in pictures[20:]] == [16, 13, 10, 7, 4, 1]


def test_the_moving_picture_is_written_whole_plays_for_ever_and_has_a_still_beside_it(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    first = kept.make("mask_ratio_moving", tmp_path / "one", str(runs[0]))
    again = kept.make("mask_ratio_moving", tmp_path / "two", str(runs[0]))
    assert [path.name for path in first] == ["mask_ratio_moving.webp", "mask_ratio_still.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with Image.open(first[0]) as animation:
        assert animation.info["loop"] == 0
        assert len(list(ImageSequence.Iterator(animation))) == 26
    assert first[0].stat().st_size < 2_000_000
    with Image.open(first[1]) as still:
        assert still.format == "PNG" and still.height > 8 * 48


def test_a_moving_picture_is_exact_unless_that_takes_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [(enlarged(image, 2), 100 * (number + 1)) for number, image in enumerate(some_images())]
    with Image.open(save_moving(frames, tmp_path / "exact.webp")) as exact:
        for frame, (picture, milliseconds) in zip(ImageSequence.Iterator(exact), frames, strict=True):
            assert np.array_equal(frame.convert("RGB"), picture)
            assert frame.info["duration"] == milliseconds
    monkeypatch.setattr(mask_moving, "MOST_BYTES", 100)
    softer = save_moving(frames, tmp_path / "softer.webp")
    assert softer.stat().st_size < (tmp_path / "exact.webp").stat().st_size


def test_reconstructions_keep_what_the_name_of_the_row_says(runs: tuple[Path, Path]) -> None:
    model = made.load_stage1_named(str(runs[0]))
    images = made.one_of_each_group(model, 4)
    rows = made.reconstruction_rows(model, images, [(0.5, made.LEARNED), (0.75, made.RANDOM)])
    original, kept, back, at_random, _ = rows
    assert [row.name.split(",")[0] for row in rows] == [
        "original",
        "50 % dropped",
        "comes back",
        "75 % dropped",
        "comes back",
    ]
    for image, half, quarter in zip(original.images, kept.images, at_random.images, strict=True):
        assert np.mean((half == image).all(axis=-1)) == pytest.approx(0.5, abs=0.01)
        assert np.mean((quarter == image).all(axis=-1)) == pytest.approx(0.25, abs=0.01)
    encoded = EncodedImage(model, images[0])
    assert np.array_equal(back.images[0], made.as_pixels(encoded.keep(encoded.best_at(0.5)).image))


def test_random_masks_differ_from_image_to_image(runs: tuple[Path, Path]) -> None:
    model = made.load_stage1_named(str(runs[0]))
    images = made.one_of_each_group(model, 2)
    kept = made.reconstruction_rows(model, [images[0], images[0]], [(0.75, made.RANDOM)])[1]
    assert not np.array_equal(*kept.images)


def test_anything_begins_with_a_red_disc_on_white_and_whole_photographs(runs: tuple[Path, Path]) -> None:
    images = made.any_images(made.load_stage1_named(str(runs[0])))
    assert list(images)[:4] == ["a red disc", "astronaut", "flower", "a crop 0"]
    assert all(image.shape == (3, 16, 16) and image.abs().max() <= 1 for image in images.values())
    disc = images["a red disc"]
    assert (disc[:, 0, 0] == 1).all() and disc[0, 8, 8] > 0.5 > disc[1, 8, 8]
    (path,) = kept.make("reconstructions_anything", runs[0].parent, str(runs[0]))
    assert path.exists()


def test_a_sample_sheet_has_a_column_a_class_and_does_without_the_data(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvqlab.data.splits.SOURCES", {})  # as Fashion-MNIST, where it was never fetched
    (path,) = kept.make("sample_sheet_simple", tmp_path, str(runs[1]), str(runs[0]))
    with Image.open(path) as picture:
        assert picture.width == 2 * MARGIN + 8 * 3 * 16 + 7 * GAP
        assert picture.height > 8 * 48 + 7 * GAP


def test_settings_are_told_as_they_were() -> None:
    off = {"code_top_k": 0, "code_top_p": 1.0, "position_top_k": 0, "position_top_p": 1.0}
    told = {"seed": 3, "code_guidance": 1.0, "position_guidance": 1.0}
    assert made.settings_of(told | off) == "seed 3, guidance 1, filters off"
    told["code_guidance"] = 2.0
    words = made.settings_of(told | off | {"position_top_k": 10})
    assert words == "seed 3, guidance 2 of codes and 1 of positions, filters position_top_k 10"


def test_the_commands_list_make_and_say_which_pictures_there_are(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["results", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in kept.MADE)
    asked = ["results", "make", "reconstructions_emoji", "--model", str(runs[0]), "--out", str(tmp_path)]
    assert cli.main(asked) == 0
    assert str(tmp_path / "reconstructions_emoji.png") in capsys.readouterr().out
    assert cli.main(["results", "make", "cats"]) == 2
    assert "there is no kept table or picture 'cats': there are mask_ratio_moving" in capsys.readouterr().err


@pytest.mark.slow
def test_emoji_are_of_different_groups_and_held_out(tmp_path: Path) -> None:
    from mvqlab.config import DataConfig
    from mvqlab.data import build_splits

    run, _ = write_run(tmp_path, "code_first")
    images = made.one_of_each_group(made.load_stage1_named(str(run)))
    held_out = build_splits(DataConfig(name="emoji", resolution=16)).validation
    items = [held_out[index] for index in range(len(held_out))]
    assert len(images) == made.N_GROUPS
    labels = [next(item["label"] for item in items if torch.equal(item["image"], image)) for image in images]
    assert labels == list(range(made.N_GROUPS))


def test_a_widget_is_pictured_as_it_is_or_it_is_said_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of any model, and not on a machine without a browser."""
    with pytest.raises(KeptError, match="shows emoji_mqvae, the widget's own, not fashion_mqvae"):
        kept.make("mask_explorer", tmp_path, "fashion_mqvae")

    def no_browser(*_: object) -> None:
        raise NoBrowserError("no Chromium on this machine: apt-get install chromium")

    monkeypatch.setattr(screenshot, "open_browser", no_browser)
    with pytest.raises(KeptError, match="generation_player: no Chromium"):
        kept.make("generation_player", tmp_path)
    assert not list(tmp_path.iterdir())
