"""Emoji: names and families, true masks, one split a family, one file of rendered drawings."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mvqlab.config import DataConfig
from mvqlab.data import DataError, build_splits, catalogue, emoji, photos
from mvqlab.data.emoji import laid_on, light_ground, rendered
from mvqlab.data.emoji_names import HELD_OUT_SHARE, family_is_held_out, family_of, unicode_emoji
from mvqlab.data.seeds import generator
from mvqlab.support.disk_cache import CacheWarning
from mvqlab.support.files import CACHE_VARIABLE

EVERY_63RD = unicode_emoji()[::63]  # 61 of 3,781: enough of every group, rendered in a quarter of a second
ALIKE = 0.025  # root mean square difference at 32 pixels, of 1, under which two drawings are one


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Only `EVERY_63RD` are there, and the cache is an empty folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(emoji, "drawn_emoji", lambda: EVERY_63RD)
    rendered.cache_clear()
    yield tmp_path
    rendered.cache_clear()


def config(**changes: object) -> DataConfig:
    return DataConfig(name="emoji", **{"resolution": 24, **changes})


def test_every_named_emoji_is_drawn() -> None:
    assert len(emoji.drawn_emoji()) == len(unicode_emoji()) > 3700
    assert len({one.name for one in unicode_emoji()}) == len(unicode_emoji())
    assert emoji.group_names() == [
        "Smileys & Emotion",
        "People & Body",
        "Animals & Nature",
        "Food & Drink",
        "Travel & Places",
        "Activities",
        "Objects",
        "Symbols",
        "Flags",
    ]
    assert unicode_emoji()[0][:2] == ("😀", "grinning face")


@pytest.mark.parametrize(
    ("name", "group", "family"),
    [
        ("waving hand: dark skin tone", "People & Body", "waving hand"),
        ("woman: medium skin tone, red hair", "People & Body", "person"),
        ("person: blond hair", "People & Body", "person"),
        ("man health worker: light skin tone", "People & Body", "health worker"),
        ("health worker", "People & Body", "health worker"),
        ("woman walking facing right", "People & Body", "walking"),
        ("person walking: light skin tone", "People & Body", "walking"),
        ("mermaid", "People & Body", "merperson"),
        ("princess: dark skin tone", "People & Body", "with crown"),
        ("man feeding baby", "People & Body", "feeding baby"),
        ("kiss: woman, man, light skin tone, dark skin tone", "People & Body", "kiss"),
        ("family: man, woman, girl, boy", "People & Body", "family"),
        ("woman and man holding hands: dark skin tone", "People & Body", "holding hands"),
        ("old woman", "People & Body", "older"),
        ("woman’s hat", "Objects", "woman’s hat"),
        ("keycap: 1", "Symbols", "keycap: 1"),
        ("flag: Chad", "Flags", "flag: Romania"),
        ("flag: Germany", "Flags", "flag: Germany"),
        ("ten-thirty", "Travel & Places", "clock face"),
        ("light blue heart", "Smileys & Emotion", "heart"),
    ],
)
def test_a_family_is_a_name_without_its_dress(name: str, group: str, family: str) -> None:
    assert family_of(name, group) == family


def test_skin_tones_genders_and_hair_never_straddle_the_splits() -> None:
    """By code points, where `family_of` goes by names: a drawing and its variants are in one split."""
    tones = {chr(point) for point in range(0x1F3FB, 0x1F400)}
    signs = {"\u2640", "\u2642", "\ufe0f", *(chr(point) for point in range(0x1F9B0, 0x1F9B4))}
    joiner, people = "\u200d", dict.fromkeys("👨👩🧑", "🧑")
    facing_right = "\u27a1"

    def bare(character: str) -> str:
        points = [people.get(point, point) for point in character if point not in tones | signs]
        parts = [part for part in "".join(points).split(joiner) if part and part != facing_right]
        return joiner.join(parts)

    by_drawing: dict[str, list[bool]] = {}
    for one in unicode_emoji():
        if one.group == "People & Body":
            by_drawing.setdefault(bare(one.character), []).append(family_is_held_out(one.family))
    assert len(by_drawing) < 300 and max(map(len, by_drawing.values())) > 50
    assert not [drawing for drawing, held_out in by_drawing.items() if len(set(held_out)) > 1]


def test_the_catalogue_says_how_many_there_are() -> None:
    held_out = sum(family_is_held_out(one.family) for one in unicode_emoji())
    (entry,) = [entry for entry in catalogue.entries() if entry.name == "emoji"]
    assert entry.size == f"{len(unicode_emoji()) - held_out:,} + {held_out} drawings"
    assert entry.state == "here"


def test_one_family_in_ten_is_held_out_and_always_the_same_ones() -> None:
    families = {one.family for one in unicode_emoji()}
    held_out = {family for family in families if family_is_held_out(family)}
    assert 0.08 < len(held_out) / len(families) < 0.12
    assert {"banana", "penguin", "violin", "flag: Greece", "juggling"} <= held_out, "the default split moved"
    other = {family for family in families if family_is_held_out(family, seed=1)}
    assert len(held_out & other) / len(held_out) < 3 * HELD_OUT_SHARE


@pytest.mark.slow  # renders every drawing
def test_no_drawing_has_a_double_in_another_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards the held-out loss: flags that several places fly, arrows that a mirror makes equal."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    rendered.cache_clear()
    drawings = rendered(32)
    shares = drawings.rgba.astype(np.float32) / 255
    colours = shares[:, :3] * shares[:, 3:] + 0.5 * (1 - shares[:, 3:])  # on grey, so that white counts too
    seen = np.concatenate([colours, shares[:, 3:]], axis=1)
    families = np.array(drawings.families)
    for other in (seen, seen[..., ::-1]):
        first, second = (views.reshape(len(views), -1) for views in (seen, other))
        squares = (first**2).mean(1)[:, None] + (second**2).mean(1) - 2 * first @ second.T / first.shape[1]
        alike = (squares < ALIKE**2) & (families[:, None] != families)
        assert not {(families[i], families[j]) for i, j in zip(*np.nonzero(alike), strict=True)}
    covered = (drawings.rgba[:, 3] >= emoji.OPAQUE).mean((1, 2))
    assert covered.min() > 0.01 and covered.max() < 0.95, "each drawing is something, with a margin"


def test_splits_are_apart_and_as_large_as_there_is_or_is_asked_for(few: Path) -> None:
    splits = build_splits(config())
    train, held_out = (
        {data.caption(i) for i in range(len(data))} for data in (splits.train, splits.validation)
    )
    assert train | held_out == {one.name for one in EVERY_63RD} and not train & held_out
    assert len(train) == len(splits.train) and len(held_out) == len(splits.validation)
    assert held_out == {one.name for one in EVERY_63RD if family_is_held_out(one.family)}
    fewer = build_splits(config(train_size=10, validation_size=2))
    assert (len(fewer.train), len(fewer.validation)) == (10, 2)
    assert build_splits(config(train_size=999)).data_hash == splits.data_hash != fewer.data_hash
    assert fewer.train.caption(3) == splits.train.caption(3)
    assert not rendered(24).is_held_out().all() and rendered(24).is_held_out().sum() == len(held_out)


@pytest.mark.parametrize("resolution", [8, 33])
def test_a_picture_is_its_drawing_on_one_light_colour(few: Path, resolution: int) -> None:
    splits = build_splits(config(resolution=resolution))
    by_name = {one.name: one for one in EVERY_63RD}
    for index in range(len(splits.train)):
        picture = splits.train.picture(index)
        one = by_name[picture.caption]
        rgba = rendered(resolution).rgba[EVERY_63RD.index(one)]
        assert picture.pixels.shape == (3, resolution, resolution) and picture.pixels.dtype == np.uint8
        assert splits.class_names[picture.label] == one.group
        assert (picture.is_object == (rgba[3] >= 128)).all() and 0.0 < picture.is_object.mean() < 1.0
        grounds = {tuple(pixel) for pixel in picture.pixels[:, rgba[3] == 0].T}
        assert len(grounds) <= 1 and all(min(ground) > 0.7 * 255 for ground in grounds)
        assert (picture.pixels[:, rgba[3] == 255] == rgba[:3, rgba[3] == 255]).all()
    again = build_splits(config(resolution=resolution)).train[4]["image"]
    assert again.equal(splits.train[4]["image"]) and again.max() <= 1.0


def test_laid_on_is_the_rounded_mixture() -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (4, 13, 17), dtype=np.uint8)
    ground = np.array([255, 230, 241], np.uint8)
    alpha = rgba[3] / 255
    expected = np.rint(rgba[:3] * alpha + ground[:, None, None] * (1 - alpha))
    assert np.abs(laid_on(rgba, ground) - expected).max() == 0


def test_grounds_are_light_and_a_third_is_white() -> None:
    grounds = np.array([light_ground(generator(0, "train", index)) for index in range(600)])
    assert 0.27 < (grounds == 255).all(1).mean() < 0.40
    assert grounds.min() >= 0.7 * 255
    assert len({tuple(ground) for ground in grounds}) > 380


def test_drawings_are_rendered_once_and_alike(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rendered(24).rgba
    assert first.shape == (len(EVERY_63RD), 4, 24, 24)
    (kept,) = few.rglob("*.npz")
    assert str(np.load(kept)["credit"]) == emoji.CREDIT
    rendered.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(emoji, "_render", lambda *_: pytest.fail("rendered again"))
        assert (rendered(24).rgba == first).all()
    kept.unlink()
    rendered.cache_clear()
    assert (rendered(24).rgba == first).all(), "rendering is not deterministic"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_rendered_again(few: Path, content: bytes) -> None:
    first = rendered(8).rgba
    (kept,) = few.rglob("*.npz")
    kept.write_bytes(content)
    rendered.cache_clear()
    with pytest.warns(CacheWarning, match="cannot be read"):
        assert (rendered(8).rgba == first).all()
    rendered.cache_clear()
    assert (rendered(8).rgba == first).all()


def test_a_cache_that_cannot_be_made_costs_no_training(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (few / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_VARIABLE, str(few / "file"))
    with pytest.warns(CacheWarning, match=CACHE_VARIABLE):
        assert len(rendered(8).rgba) == len(EVERY_63RD)


def test_loader_processes_get_numbers_and_not_pixels(few: Path) -> None:
    train = build_splits(config()).train
    _ = train[0]
    assert len(pickle.dumps(train)) < 10_000
    assert pickle.loads(pickle.dumps(train))[5]["image"].equal(train[5]["image"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(emoji.PACKAGES, "no-such-package", "no_such_module")
    emoji._drawing_files.cache_clear()
    with pytest.raises(DataError, match=r"needs no-such-package: pip install no-such-package$"):
        emoji._drawing_files()


def test_the_hash_follows_the_settings_and_the_credit_is_given(few: Path) -> None:
    changes = (
        {},
        {"resolution": 25},
        {"seed": 1},
        {"train_size": 9},
        {"validation_size": 2},
        {"flip": False},
    )
    splits = [build_splits(config(**change)) for change in changes]
    assert len({each.data_hash for each in splits}) == len(changes)
    assert [each.train.flip for each in splits] == [True] * 5 + [False] and not splits[0].validation.flip
    assert splits[0].credit == emoji.CREDIT and "CC BY-SA 4.0" in emoji.__doc__
    shown = build_splits(DataConfig(name="photos", train_size=1, validation_size=1)).credit
    assert shown == photos.CREDIT and all(name in shown for name in ("danielbuechele", "vultilion"))


def test_seeds_shuffle_the_order() -> None:
    orders = [emoji._shuffled(unicode_emoji(), seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == list(range(len(unicode_emoji()))) for order in orders)
    groups = [unicode_emoji()[number].group for number in orders[0][:250]]
    assert len(set(groups)) == 9
