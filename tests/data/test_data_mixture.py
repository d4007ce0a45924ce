"""Several sets as one: shares, repeats, masks that only some have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_stage1

from mvqlab.config import Config, ConfigError, DataConfig, load_config
from mvqlab.data import (
    PictureDataset,
    Splits,
    batches,
    batches_in_order,
    build_splits,
    catalogue,
    credit_of,
    emoji,
)
from mvqlab.data.dataset import Picture, collate
from mvqlab.data.mixture import MixtureDataset, interleaved, mixture_splits
from mvqlab.evaluation import collect

SHARES = {"photos": 0.5, "simple": 0.3, "shapes": 0.2}
NAMES = ["photos", "shapes", "simple"]


def config(**changes: object) -> DataConfig:
    settings = {"mixture": SHARES, "resolution": 24, "train_size": 60, "validation_size": 30, **changes}
    return DataConfig(name="mixture", **settings)


class Grey(PictureDataset):
    """Picture i has grey i; the left column is white, which shows mirroring."""

    def __init__(self, size: int, flip: bool = False, has_mask: bool = True) -> None:
        super().__init__(size, 5, flip)
        self.has_mask, self.n_made = has_mask, 0

    def picture(self, index: int) -> Picture:
        self.n_made += 1
        pixels = np.full((3, 5, 5), index, np.uint8)
        pixels[:, :, 0] = 255
        return Picture(pixels, 7, f"grey {index}", pixels[0] == 255 if self.has_mask else None)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5),
    size=st.integers(1, 400),
)
def test_any_first_part_has_the_shares(weights: list[float], size: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    turns = interleaved(shares, size)
    assert len(turns.source) == len(turns.turn) == size
    for source, share in enumerate(shares):
        is_its = turns.source == source
        assert (np.abs(np.cumsum(is_its) - share * np.arange(1, size + 1)) <= len(shares)).all()
        assert (turns.turn[is_its] == np.arange(is_its.sum())).all(), "a source's pictures come in its order"


def test_a_longer_set_begins_like_a_shorter_one() -> None:
    short, long = interleaved([0.5, 0.3, 0.2], 40), interleaved([0.5, 0.3, 0.2], 400)
    assert (long.source[:40] == short.source).all() and (long.turn[:40] == short.turn).all()
    assert short.source[:10].tolist() == [0, 1, 2, 0, 0, 1, 0, 2, 1, 0]


def test_pictures_are_the_sources_own_and_labels_name_the_source() -> None:
    splits = build_splits(config())
    assert splits.class_names == NAMES and splits.label_meaning == "source"
    assert np.bincount([splits.train[i]["label"] for i in range(60)]).tolist() == [30, 12, 18]
    assert np.bincount([splits.validation[i]["label"] for i in range(30)]).tolist() == [15, 6, 9]
    alone = {
        "photos": DataConfig(name="photos", resolution=24),
        "shapes": DataConfig(resolution=24),
        "simple": DataConfig(resolution=24, scene="simple"),
    }
    for part in ("train", "validation"):
        mixed = getattr(splits, part)
        sources = [getattr(build_splits(alone[name]), part) for name in NAMES]
        for index in range(30):
            source, place = mixed.origin(index)
            sample, original = mixed[index], sources[source][place]
            assert sample["label"] == source and sample["image"].equal(original["image"])
            assert sample["caption"] == mixed.caption(index) == original["caption"]
            assert (sample["importance"] is None) == (NAMES[source] == "photos")


def test_a_small_source_comes_round_after_round_and_is_made_once() -> None:
    small, large = Grey(3), Grey(50)
    dataset = MixtureDataset([small, large], [0.5, 0.5], 40)
    greys = [dataset.caption(index) for index in range(40) if dataset.origin(index)[0] == 0]
    assert greys == [f"grey {index % 3}" for index in range(20)]
    _ = [dataset[index] for index in range(40)]
    assert (small.n_made, large.n_made) == (20 + 3, 20), "for 20 captions, and for each picture once"


def test_sources_share_the_memory_of_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against several times the limit: here two of three fit, whatever order they come in."""
    monkeypatch.setattr("mvqlab.data.dataset.REMEMBERED_BYTES", 31 * 75)
    sources = [Grey(30), Grey(10), Grey(20)]
    dataset = MixtureDataset(sources, [0.5, 0.2, 0.3], 60)
    _ = [dataset[index] for index in [*range(60), *range(60)]]
    assert [source.n_made for source in sources] == [60, 10, 18]


def test_only_sources_that_may_be_mirrored_are() -> None:
    dataset = MixtureDataset([Grey(9, flip=True), Grey(9)], [0.5, 0.5], 40)
    seen = {0: set(), 1: set()}
    for batch in itertools.islice(batches(dataset, 10, seed=0), 20):
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            seen[label].add(bool(image[0, 0, -1] == 1.0))
    assert seen == {0: {False, True}, 1: {False}}


def test_batches_do_not_depend_on_workers() -> None:
    splits = build_splits(config(train_size=20))
    alone, beside = (list(itertools.islice(batches(splits.train, 6, 0, workers=n), 5)) for n in (0, 2))
    for left, right in zip(alone, beside, strict=True):
        assert left.images.equal(right.images) and left.labels.equal(right.labels)


def test_a_batch_has_masks_only_where_every_picture_has_one() -> None:
    """Guards rows: masks of some pictures, stacked, would be taken for those of others."""
    with_mask, without = Grey(1)[0], Grey(1, has_mask=False)[0]
    assert collate([with_mask, with_mask]).importance.shape == (2, 5, 5)
    for mixed in ([with_mask, without], [without, with_mask], [without]):
        assert collate(mixed).importance is None


def test_a_model_runs_over_batches_with_and_without_masks() -> None:
    """The last batch has masks and the first has not: the held-out set as a whole then has none."""
    dataset = MixtureDataset([Grey(3, has_mask=False), Grey(3)], [0.5, 0.5], 6)
    dataset.turns.source[:] = [0, 0, 0, 1, 1, 1]
    parts = list(batches_in_order(dataset, 3))
    assert [part.importance is None for part in parts] == [True, False]
    splits = build_splits(config(resolution=16, validation_size=12))
    held_out = collect(tiny_stage1(), batches_in_order(splits.validation, 2), 0)
    assert held_out.importance is None and len(held_out.images) == 12


def test_the_hash_follows_sources_and_shares_not_how_they_are_written() -> None:
    first = build_splits(config()).data_hash
    same = {"shapes": 2, "simple": 3, "photos": 5}
    assert build_splits(config(mixture=same)).data_hash == first
    others = [
        {"mixture": {"photos": 0.5, "simple": 0.2, "shapes": 0.3}},
        {"mixture": {"photos": 0.5, "simple": 0.5}},
        {"seed": 1},
        {"train_size": 61},
        {"resolution": 25},
        {"flip": False},
    ]
    assert len({first, *(build_splits(config(**changes)).data_hash for changes in others)}) == 7


def test_sources_are_built_with_what_they_need_and_their_credits_are_kept() -> None:
    asked = {}

    def build(settings: DataConfig) -> Splits:
        asked[settings.name] = settings
        return Splits(Grey(4), Grey(2), ["x"], "", settings.name, credit=f"by {settings.name}")

    mixture = {"emoji": 0.5, "fashion": 0.25, "simple": 0.25}
    splits = mixture_splits(config(mixture=mixture, seed=5, download=True), build)
    assert [asked[name].train_size for name in ("emoji", "fashion", "shapes")] == [30, 15, 15]
    assert asked["shapes"].scene == "simple" and asked["emoji"].scene == "full"
    assert all(settings.seed == 5 and settings.download for settings in asked.values())
    assert splits.credit == "by emoji. by fashion. by shapes"
    assert (len(splits.train), len(splits.validation)) == (60, 30)


@pytest.mark.parametrize("name", ["shapes", "emoji", "photos", "mixture"])
def test_who_is_to_be_credited_is_known_without_the_data(name: str) -> None:
    mixture = {"emoji": 0.5, "simple": 0.2, "photos": 0.3} if name == "mixture" else {}
    config = DataConfig(name=name, mixture=mixture, resolution=16, train_size=4, validation_size=4)
    assert credit_of(config) == build_splits(config).credit
    assert ("OpenMoji" in credit_of(config)) == (name in ("emoji", "mixture"))


def test_a_set_too_small_for_a_turn_of_every_source_is_still_a_set() -> None:
    splits = build_splits(config(mixture={"simple": 1.0, "photos": 0.001}, train_size=5, validation_size=1))
    assert {splits.train[index]["label"] for index in range(5)} == {1}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.name=mixture"], r"must give shares by name.*known: emoji, fashion, photos, shapes, simple"),
        (["data.mixture={photos: 1}"], r"data.name is 'shapes', which does not read it"),
        (
            ["data.mixture={photo: 1}"],
            r"data.mixture: knows no 'photo' — did you mean 'photos'\?; known: emoji",
        ),
        (["data.mixture={photos: 0}"], r"share of 'photos' must be a number above 0, not 0"),
        (["data.mixture={photos: much}"], r"share of 'photos' must be a number above 0, not 'much'"),
        (["data.mixture={photos: .nan}"], r"must be a number above 0, not nan"),
        (["data.mixture=photos"], r"must be shares by name, such as \{photos"),
    ],
)
def test_faulty_mixtures_are_explained(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config("shapes32", overrides)


def test_shares_can_be_set_one_by_one_and_a_config_is_read_back() -> None:
    one_by_one = ["data.name=mixture", "data.mixture.simple=1", "data.mixture.photos=3"]
    loaded = load_config("shapes32", one_by_one)
    assert loaded.data.mixture == {"photos": 3.0, "simple": 1.0}
    assert Config.model_validate(loaded.model_dump(mode="json")) == loaded


def test_the_catalogue_names_what_a_mixture_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = {"emoji": 0.5, "simple": 0.5}
    monkeypatch.setattr(emoji, "missing_packages", list)
    assert catalogue.missing(config(mixture=mixture)) == []
    monkeypatch.setattr(emoji, "missing_packages", lambda: ["resvg-py"])
    assert catalogue.missing(config(mixture=mixture)) == ["emoji (pip install resvg-py)"]
