"""Batches: the same whatever the workers and wherever one starts."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvqlab.config import DataConfig
from mvqlab.data import Batch, DataError, PictureDataset, batches, batches_in_order, build_splits
from mvqlab.data.dataset import Picture
from mvqlab.data.loading import batch_indices, mirrored_rows
from mvqlab.data.shapes import ShapesDataset


class Numbered(PictureDataset):
    """Picture i is filled with i, but for a bright left column that shows mirroring."""

    def __init__(self, size: int, flip: bool = False) -> None:
        super().__init__(size, resolution=5, flip=flip)
        self.n_made = 0

    def picture(self, index: int) -> Picture:
        self.n_made += 1
        pixels = np.full((3, 5, 5), index, np.uint8)
        pixels[:, :, 0] = 255
        return Picture(pixels, index, f"number {index}", pixels[0] == 255)


def take(n: int, stream: object) -> list[Batch]:
    return list(itertools.islice(stream, n))


def same(left: Batch, right: Batch) -> bool:
    return (
        left.images.equal(right.images)
        and left.labels.equal(right.labels)
        and left.captions == right.captions
        and left.importance.equal(right.importance)
    )


def test_a_sample_is_what_the_contract_says() -> None:
    sample = ShapesDataset(3, 17, 0, "train")[1]
    image, importance = sample["image"], sample["importance"]
    assert image.shape == (3, 17, 17) and image.dtype == torch.float32
    assert -1.0 <= image.min() < image.max() <= 1.0
    assert importance.shape == (17, 17) and importance.dtype == torch.float32
    assert set(importance.unique().tolist()) == {0.0, 1.0}
    assert isinstance(sample["label"], int) and sample["caption"].startswith("a")


def test_pixels_map_onto_minus_one_to_one() -> None:
    class Extremes(PictureDataset):
        def picture(self, index: int) -> Picture:
            return Picture(np.array([0, 51, 255], np.uint8).reshape(3, 1, 1))

    sample = Extremes(1, 1)[0]
    torch.testing.assert_close(sample["image"].flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    assert sample["label"] == -1 and sample["caption"] == "" and sample["importance"] is None


def test_indices_work_like_a_list() -> None:
    """Guards iteration, which ends at the first IndexError and would otherwise never end."""
    dataset = Numbered(4)
    assert [sample["label"] for sample in dataset] == [0, 1, 2, 3]
    assert dataset[-1]["label"] == 3
    with pytest.raises(IndexError, match="no item 4 in a data set of 4"):
        dataset[4]


def test_pictures_are_made_once_and_cannot_be_spoilt() -> None:
    """Guards the memory: a caller who writes into a sample must not change what others get."""
    dataset = Numbered(3)
    dataset[1]["image"].fill_(7.0)
    dataset[1]["importance"].fill_(7.0)
    assert dataset[1]["image"].max() == 1.0 and dataset[1]["importance"].max() == 1.0
    assert dataset.n_made == 1


def test_a_data_set_too_large_to_remember_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvqlab.data.dataset.REMEMBERED_BYTES", 3 * 3 * 25 - 1)
    dataset = Numbered(3)
    first, second = dataset[2]["image"], dataset[2]["image"]
    assert dataset.n_made == 2 and first.equal(second)


def test_a_pickled_data_set_leaves_its_memory_behind() -> None:
    dataset = ShapesDataset(40, 32, 0, "train")
    empty = len(pickle.dumps(dataset))
    image = dataset[3]["image"]
    assert len(pickle.dumps(dataset)) == empty
    assert pickle.loads(pickle.dumps(dataset))[3]["image"].equal(image)


def test_batches_do_not_depend_on_workers_nor_on_the_start() -> None:
    """Guards resuming: batches 0-6 in one go equal those of two processes, and those from 3 on."""
    dataset = Numbered(11, flip=True)
    alone = take(7, batches(dataset, 4, seed=5))
    with_workers = take(7, batches(dataset, 4, seed=5, workers=2))
    continued = take(4, batches(dataset, 4, seed=5, start=3))
    continued_with_workers = take(4, batches(dataset, 4, seed=5, start=3, workers=2))
    assert all(map(same, alone, with_workers))
    assert all(map(same, alone[3:], continued))
    assert all(map(same, alone[3:], continued_with_workers))
    other = take(7, batches(dataset, 4, seed=6))
    assert not all(map(same, alone, other))


def test_loading_leaves_the_global_generator_alone() -> None:
    """Guards exact resuming: a loader draws a seed when it starts, by default from the global generator."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    take(2, batches(Numbered(5), 2, seed=0))
    list(batches_in_order(Numbered(5), 2))
    assert torch.rand(3).equal(expected)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 23), batch_size=st.integers(1, 13), seed=st.integers(-5, 2**40))
def test_every_epoch_shows_each_picture_once(size: int, batch_size: int, seed: int) -> None:
    n_epochs = 3
    n_batches = -(-size * n_epochs // batch_size)
    stream = [index for n in range(n_batches) for index in batch_indices(size, batch_size, seed, n)]
    epochs = [stream[epoch * size : (epoch + 1) * size] for epoch in range(n_epochs)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    if size > 12:
        assert epochs[0] != epochs[1] != epochs[2], "each epoch has an order of its own"


def test_neighbouring_seeds_do_not_share_epochs() -> None:
    """Guards against seeds that are added up: epoch 1 of seed 0 must not be epoch 0 of seed 1."""
    assert batch_indices(50, 50, 0, 1) != batch_indices(50, 50, 1, 0)


def test_about_half_of_the_training_images_are_mirrored_masks_included() -> None:
    dataset = Numbered(200, flip=True)
    batch = next(batches(dataset, 200, seed=2))
    rows = torch.from_numpy(mirrored_rows(200, 2, 0))
    assert 70 < rows.sum() < 130
    is_bright = batch.images[:, 0] == 1.0
    assert is_bright.equal(batch.importance)
    assert is_bright[rows][:, :, 4].all() and not is_bright[rows][:, :, :4].any()
    assert is_bright[~rows][:, :, 0].all() and not is_bright[~rows][:, :, 1:].any()
    # the picture, its label and its caption still belong together
    numbers = ((batch.images[:, 0, 0, 2] + 1.0) * 127.5).round().long()
    assert numbers.equal(batch.labels)
    assert batch.captions == [f"number {number}" for number in numbers]


def test_mirroring_does_not_repeat_from_epoch_to_epoch() -> None:
    assert (mirrored_rows(64, 0, 0) != mirrored_rows(64, 0, 1)).any()


def test_one_pass_in_order_with_a_short_last_batch() -> None:
    passed = list(batches_in_order(Numbered(11, flip=True), 4))
    assert [len(batch) for batch in passed] == [4, 4, 3]
    assert torch.cat([batch.labels for batch in passed]).tolist() == list(range(11))
    assert all((batch.images[:, :, :, 0] == 1.0).all() for batch in passed), "never mirrored"
    assert [batch.labels.tolist() for batch in batches_in_order(Numbered(11), 4, limit=6)] == [
        [0, 1, 2, 3],
        [4, 5],
    ]
    assert sum(len(batch) for batch in batches_in_order(Numbered(3), 2, limit=99)) == 3
    assert list(batches_in_order(Numbered(3), 2, limit=0)) == []


def test_batches_carry_the_promised_types_and_move() -> None:
    batch = next(batches(Numbered(6), 4, seed=0))
    assert batch.images.dtype == torch.float32 and batch.images.shape == (4, 3, 5, 5)
    assert batch.labels.dtype == torch.int64 and batch.importance.dtype == torch.bool
    moved = batch.to("meta")
    assert {moved.images.device.type, moved.labels.device.type, moved.importance.device.type} == {"meta"}
    assert moved.captions == batch.captions


def test_nothing_to_draw_from_is_said_at_once() -> None:
    """Guards against an endless loop that never yields, and an error that waits for the first batch."""
    with pytest.raises(DataError, match="holds no images"):
        batches(Numbered(0), 4, seed=0)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        batches(Numbered(3), 0, seed=0)


def test_real_data_sets_load_the_same_in_other_processes() -> None:
    splits = build_splits(DataConfig(name="photos", resolution=11, train_size=9, validation_size=2))
    alone = take(3, batches(splits.train, 5, seed=1))
    with_workers = take(3, batches(splits.train, 5, seed=1, workers=2))
    for left, right in zip(alone, with_workers, strict=True):
        assert left.images.equal(right.images) and left.labels.equal(right.labels)
        assert left.importance is None and right.importance is None
