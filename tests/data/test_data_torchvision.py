"""Sets of torchvision.datasets, on small trees in each set's own layout."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvqlab.cli import main as cli
from mvqlab.config import SETS_WITH_TRUE_MASKS, DataConfig, load_config
from mvqlab.data import DataError, Splits, build_splits
from mvqlab.data.dataset import Picture
from mvqlab.data.torchvision_data import TorchvisionDataset
from mvqlab.data.torchvision_sets import KINDS, can_download, class_of


def splits(name: str, root: Path, **changes: object) -> Splits:
    return build_splits(DataConfig(**{"name": "torchvision", "set": name, "root": root, **changes}))


def refusal(name: str, root: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        splits(name, root, **changes)
    return str(caught.value)


def in_order(part: TorchvisionDataset) -> list[Picture]:
    """All pictures, in the set's own order."""
    return [part.picture(index) for index in np.argsort(part.selection.places)]


def greys(pictures: list[Picture]) -> list[int]:
    """The grey at the middle of each picture, which numbers it in these trees."""
    return [int(pixels[0, len(pixels[0]) // 2, len(pixels[0]) // 2]) for pixels, *_ in pictures]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def flat(grey: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, (grey, grey, grey))


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR10 of six batches of two images each; torchvision still checks their sums."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    of_set = class_of("CIFAR10")

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5(folder / name)]

    def batch(number: int) -> dict:
        rows = np.stack([np.full(3072, 20 * number + n, np.uint8) for n in range(2)])
        return {"data": rows, "labels": [number % 10, (number + 3) % 10]}

    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    train = [write(f"data_batch_{n + 1}", batch(n)) for n in range(5)]
    monkeypatch.setattr(of_set, "train_list", train)
    monkeypatch.setattr(of_set, "test_list", [write("test_batch", batch(6))])
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(of_set, "meta", {**of_set.meta, "md5": meta[1]})
    return tmp_path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """OxfordIIITPet: a square of 20 pixels with a border of 2 in the middle of each image."""
    folder = tmp_path / "oxford-iiit-pet"
    parts = {
        "trainval": [("Abyssinian_1", 1), ("great_pyrenees_5", 2), ("Abyssinian_2", 1)],
        "test": [("Abyssinian_9", 1), ("great_pyrenees_7", 2)],
    }
    number = 0
    for part, images in parts.items():
        lines = []
        for name, label in images:
            number += 1
            save(flat(10 * number, (60, 40)), folder / "images" / f"{name}.jpg")
            trimap = np.full((40, 60), 2, np.uint8)
            trimap[8:32, 18:42] = 3
            trimap[10:30, 20:40] = 1
            save(Image.fromarray(trimap), folder / "annotations" / "trimaps" / f"{name}.png")
            lines.append(f"{name} {label} 1 1")
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_train_flag_with_class_names_cifar10(cifar: Path) -> None:
    found = splits("CIFAR10", cifar)
    assert (len(found.train), len(found.validation)) == (10, 2)
    assert greys(in_order(found.train)) == [20 * b + n for b in range(5) for n in range(2)]
    assert found.class_names[3] == "cat" and found.n_classes == 10 and found.label_meaning == "class"
    first, second = in_order(found.validation)
    assert (first.label, first.caption, first.is_object) == (6, "frog", None)
    assert first.pixels.shape == (3, 32, 32) and second.caption == "truck"
    captions = {found.validation.caption(index) for index in range(2)}  # without a look at the pictures
    assert captions == {"frog", "truck"}


def test_damaged_files_are_refused_as_torchvision_refuses_them(cifar: Path) -> None:
    (cifar / "cifar-10-batches-py" / "test_batch").write_bytes(b"cut off")
    message = refusal("CIFAR10", cifar)
    assert "CIFAR10 cannot be read from" in message and "corrupted" in message
    assert message.endswith(
        "data.download=true fetches it where there is a network, data.root names another folder"
    )


def test_train_flag_with_idx_files_mnist(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, size in (("train", 7), ("t10k", 4)):
        rows = np.arange(size, dtype=np.uint8).repeat(28 * 28).tobytes()
        header = struct.pack(">4i", 0x803, size, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + rows)
        labels = bytes(9 - n for n in range(size))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, size) + labels)
    found = splits("MNIST", tmp_path, resolution=16)
    assert greys(in_order(found.train)) == list(range(7))
    assert [picture.label for picture in in_order(found.validation)] == [9, 8, 7, 6]
    assert in_order(found.validation)[0].caption == "9 - nine"
    assert found.train[0]["image"].shape == (3, 16, 16)


def test_pets_have_true_masks_with_their_border(pets: Path) -> None:
    found = splits("OxfordIIITPet", pets, resolution=40)
    assert found.class_names == ["Abyssinian", "Great Pyrenees"]
    assert [picture.label for picture in in_order(found.train)] == [0, 1, 0]
    assert np.abs(np.subtract(greys(in_order(found.validation)), (40, 50))).max() <= 1
    expected = np.zeros((40, 40), bool)
    expected[8:32, 8:32] = True  # the central square of 60 x 40 begins at column 10
    assert np.array_equal(found.train.picture(0).is_object, expected)
    assert found.validation[1]["importance"].sum() == 24 * 24
    smaller = in_order(splits("OxfordIIITPet", pets, resolution=20).train)[2]
    assert np.array_equal(smaller.is_object, expected[::2, ::2]) and smaller.caption == "Abyssinian"


def test_a_camera_mark_turns_no_picture_away_from_its_mask(pets: Path) -> None:
    path = pets / "oxford-iiit-pet" / "images" / "Abyssinian_1.jpg"
    image = Image.new("RGB", (60, 40), "black")
    image.paste((255, 255, 255), (10, 0, 30, 40))  # the left half of the central square
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(path, exif=exif, quality=95)
    pixels = in_order(splits("OxfordIIITPet", pets, resolution=40).train)[0].pixels
    assert pixels[0, :, :16].min() > 200 and pixels[0, :, 24:].max() < 50


def test_split_argument_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are checked whole, those of the part without labels too."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    of_set = class_of("STL10")
    for part, size in (("train", 5), ("test", 3), ("unlabeled", 1)):
        rows = np.arange(size, dtype=np.uint8).repeat(3 * 96 * 96)
        rows.tofile(folder / f"{part}_X.bin")
        (np.arange(size, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    for name in ("train_list", "test_list"):
        files = [[file, md5(folder / file)] for file, _ in getattr(of_set, name)]
        monkeypatch.setattr(of_set, name, files)
    names = "airplane bird car cat deer dog horse monkey ship truck"
    (folder / "class_names.txt").write_text(names.replace(" ", "\n"))
    found = splits("STL10", tmp_path)
    assert (len(found.train), len(found.validation)) == (5, 3)
    assert [picture.caption for picture in in_order(found.train)] == names.split()[:5]
    assert greys(in_order(found.validation)) == [0, 1, 2]


def test_labels_without_names_are_numbers_gtsrb(tmp_path: Path) -> None:
    folder = tmp_path / "gtsrb"
    for label in range(3):
        save(flat(label), folder / "GTSRB" / "Training" / f"{label:05d}" / "00000.ppm")
    save(flat(7), folder / "GTSRB" / "Final_Test" / "Images" / "00000.ppm")
    (folder / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;1\n")
    found = splits("GTSRB", tmp_path)
    assert found.class_names == ["0", "1", "2"] and found.validation.picture(0).label == 1
    assert greys(in_order(found.train)) == [0, 1, 2]


def test_val_is_held_out_where_there_is_one_dtd(tmp_path: Path) -> None:
    folder = tmp_path / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for number, part in enumerate(("train", "val", "test")):
        names = [f"{texture}/{texture}_{number}.jpg" for texture in ("banded", "dotted")]
        for name in names:
            save(flat(50 * number), folder / "images" / name)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(names))
    found = splits("DTD", tmp_path)
    assert np.abs(np.array(greys(in_order(found.validation))) - 50).max() <= 1
    assert found.class_names == ["banded", "dotted"] and in_order(found.train)[1].caption == "dotted"


@pytest.fixture
def eurosat(tmp_path: Path) -> Path:
    for number in range(40):
        kind = ("AnnualCrop", "River")[number % 2]
        save(flat(5 * number, (64, 64)), tmp_path / "eurosat" / "2750" / kind / f"{kind}_{number:02d}.png")
    return tmp_path


def test_a_set_in_one_part_is_split_by_share_and_seed_eurosat(eurosat: Path) -> None:
    def held_out(seed: int) -> set[int]:
        return set(greys(in_order(splits("EuroSAT", eurosat, validation_share=0.3, seed=seed).validation)))

    found = splits("EuroSAT", eurosat, validation_share=0.3)
    train = in_order(found.train)
    assert sorted([*greys(train), *held_out(0)]) == [5 * n for n in range(40)]
    assert 4 <= len(held_out(0)) <= 20 and held_out(0) == held_out(0) != held_out(1)
    assert found.class_names == ["AnnualCrop", "River"]
    assert [picture.label for picture in train] == [grey // 5 % 2 for grey in greys(train)]


def test_files_that_are_listed_in_no_order_are_put_in_one_sun397(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SUN397 lists its files as the file system does: elsewhere, number 7 would be another image."""
    folder = tmp_path / "SUN397"
    for number in range(20):
        save(flat(10 * number), folder / "a" / "abbey" / f"sun_{number:02d}.jpg")
    (folder / "ClassName.txt").write_text("/a/abbey\n")
    seen, listed = [], Path.rglob
    for turn in (1, -1):
        monkeypatch.setattr(Path, "rglob", lambda path, words, turn=turn: sorted(listed(path, words))[::turn])
        part = splits("SUN397", tmp_path).train
        seen.append(greys([part.picture(index) for index in range(len(part))]))
    assert seen[0] == seen[1] and len(seen[0]) in range(10, 20)


def test_sizes_are_upper_limits_drawn_and_shuffled_by_the_seed(cifar: Path) -> None:
    def shown(**changes: object) -> list[int]:
        part = splits("CIFAR10", cifar, **changes).train
        assert [part.picture(index).label for index in range(len(part))] == part.labels.tolist()
        return greys([part.picture(index) for index in range(len(part))])

    assert shown(train_size=4) == shown(train_size=7)[:4] == shown()[:4]
    assert len(shown()) == 10 and shown() != sorted(shown())
    assert shown(train_size=4, seed=1) != shown(train_size=4)
    assert len(splits("CIFAR10", cifar, validation_size=1).validation) == 1


def test_the_hash_names_what_defines_the_pictures(eurosat: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "eurosat").symlink_to(eurosat / "eurosat")

    def name_of(root: Path, **changes: object) -> str:
        return splits("EuroSAT", root, **{"validation_share": 0.3, **changes}).data_hash

    plain = name_of(eurosat)
    assert name_of(elsewhere) == plain
    changes = [{"resolution": 16}, {"train_size": 9}, {"validation_size": 1}, {"flip": False}, {"seed": 1}]
    changes.append({"validation_share": 0.4})
    assert len({plain, *(name_of(eurosat, **change) for change in changes)}) == 7


def test_images_of_a_set_come_through_the_door_of_all_images(eurosat: Path) -> None:
    """Guards against a pipe that is waited for, and against limits that hold in folders alone."""
    path = eurosat / "eurosat" / "2750" / "AnnualCrop" / "AnnualCrop_00.png"
    found = splits("EuroSAT", eurosat, max_megapixels=0.001)
    with pytest.raises(DataError, match=r"megapixels, more than data\.max_megapixels \(0\.001\)"):
        found.train.picture(0)
    path.unlink()
    os.mkfifo(path)
    found = splits("EuroSAT", eurosat)
    part = next(part for part in (found.train, found.validation) if 0 in part.selection.places)
    with pytest.raises(DataError, match="is not a regular file"):
        part.picture(list(part.selection.places).index(0))


def test_an_image_that_cannot_be_read_is_named_by_set_and_number(eurosat: Path) -> None:
    (eurosat / "eurosat" / "2750" / "AnnualCrop" / "AnnualCrop_00.png").write_bytes(b"no image")
    found = splits("EuroSAT", eurosat)
    part = next(part for part in (found.train, found.validation) if 0 in part.selection.places)
    with pytest.raises(DataError, match=r"^EuroSAT, image 0: is not an image"):
        part.picture(part.selection.places.tolist().index(0))


def test_an_unknown_set_gets_the_nearest_names(tmp_path: Path) -> None:
    assert "did you mean CIFAR10" in refusal("cifar-10", tmp_path)
    assert "'Kinetics' is no image set" in refusal("Kinetics", tmp_path)


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "Flowers102", "SVHN", "SEMEION", "CelebA", "EuroSAT"])
def test_a_set_that_is_not_there_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    message = refusal(name, tmp_path)
    assert "not found" in message and "data.download=true" in message and not list(tmp_path.iterdir())


def test_a_set_that_nobody_hands_out_says_so(tmp_path: Path) -> None:
    assert refusal("ImageNet", tmp_path).endswith(
        "put it there by hand, as the documentation of torchvision.datasets.ImageNet says"
    )


def test_a_download_without_a_network_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert cli.main(["data", "get", "CIFAR10", "--root", str(tmp_path)]) == 2
    assert "no network in this test" in capsys.readouterr().err


def test_settings_know_which_sets_have_true_masks() -> None:
    assert {name for name, kind in KINDS.items() if kind.is_object} == set(SETS_WITH_TRUE_MASKS)
    load_config(overrides=["data.name=torchvision", "data.set=OxfordIIITPet", "mask.kind=truth"])


@pytest.mark.parametrize("name", KINDS)
def test_every_set_takes_the_arguments_that_it_is_given(name: str) -> None:
    """The constructors that need no other argument, in the installed torchvision."""
    of_set, kind = class_of(name), KINDS[name]
    downloads = {"download": False} if can_download(of_set) else {}
    for part in (kind.train, kind.held_out):
        if part is not None:
            inspect.signature(of_set).bind("root", **part, **kind.more, **downloads)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.held_out is not None])
def test_no_part_has_a_name_that_its_set_refuses(name: str, tmp_path: Path) -> None:
    """An unknown part is refused before files are looked for, in other words than missing files are."""
    kind = KINDS[name]
    for part in (kind.train, kind.held_out):
        with pytest.raises(Exception) as caught:
            class_of(name)(str(tmp_path), **part, **kind.more)
        assert "Unknown value" not in str(caught.value) and not isinstance(caught.value, TypeError)
