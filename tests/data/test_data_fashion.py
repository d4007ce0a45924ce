"""Fashion-MNIST: its files are found whole or named, its garments are what torchvision reads."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mvqlab.cli import main as cli
from mvqlab.config import DataConfig
from mvqlab.data import DataError, Splits, build_splits, catalogue, fashion_files
from mvqlab.data.fashion import CLASS_NAMES, FashionDataset, Garments, garment_of
from mvqlab.data.fashion_files import DEBIAN_FOLDER, SHA256, get, provide, raw_folder
from mvqlab.data.fetching import data_root
from mvqlab.support.files import CACHE_VARIABLE

needs_package = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="wants apt's dataset-fashion-mnist")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the four files."""
    root = tmp_path_factory.mktemp("fashion")
    provide(root, download=False)
    return root


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def splits(root: Path | None = None, **changes: object) -> Splits:
    sizes = {"train_size": 60_000, "validation_size": 10_000}
    return build_splits(DataConfig(name="fashion", root=root, **{**sizes, **changes}))


def garments(n: int = 10) -> Garments:
    """Made-up ones, number i a square of grey 100 + i at rows and columns 4 to 23 and of kind i."""
    images = np.zeros((n, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = 100 + np.arange(n)[:, None, None]
    return Garments(images, np.arange(n, dtype=np.uint8) % 10)


@needs_package
def test_the_splits_are_what_torchvision_reads(filled: Path) -> None:
    """Every pixel of some pictures, the labels of all, and the margin of two pixels around."""
    from mvqlab.support.torchvision_guard import import_torchvision

    import_torchvision()
    from torchvision.datasets import FashionMNIST

    ours = splits(filled)
    for dataset, train, size in ((ours.train, True, 60_000), (ours.validation, False, 10_000)):
        theirs = FashionMNIST(str(filled), train=train)
        assert len(dataset) == len(theirs) == size
        assert np.array_equal(dataset.garments.labels, theirs.targets.numpy())
        for index in (0, 1, size // 2, size - 1):
            picture = dataset.picture(index)
            assert picture.pixels.shape == (3, 32, 32) and picture.pixels.dtype == np.uint8
            for channel in picture.pixels:
                assert np.array_equal(channel[2:-2, 2:-2], theirs.data[index].numpy())
                assert channel.sum() == theirs.data[index].sum()  # the margin is black
            assert picture.caption == dataset.caption(index) == CLASS_NAMES[picture.label]
    assert ours.class_names == CLASS_NAMES and ours.n_classes == 10 and ours.label_meaning == "garment"


@needs_package
def test_true_masks_hold_nearly_all_light_and_no_more_than_the_garment(filled: Path) -> None:
    masks, light = [], []
    for picture in map(splits(filled, validation_size=300).validation.picture, range(300)):
        assert picture.is_object.shape == (32, 32) and picture.is_object.dtype == bool
        masks.append(picture.is_object.mean())
        light.append(picture.pixels[0][picture.is_object].sum() / picture.pixels[0].sum())
    assert min(light) > 0.9 and np.mean(light) > 0.995
    assert 0.3 < np.mean(masks) < 0.5 and min(masks) > 0.02


@needs_package
def test_sizes_are_upper_limits_and_the_seed_draws(filled: Path) -> None:
    small, large, other = (splits(filled, train_size=n, seed=s).train for n, s in ((50, 0), (90, 0), (50, 1)))
    assert [len(part) for part in (small, large, other)] == [50, 90, 50]
    rows = [{image.tobytes() for image in part.garments.images} for part in (small, large, other)]
    assert rows[0] < rows[1] and rows[0] != rows[2]
    assert len(splits(filled, train_size=10**6, validation_size=7).train) == 60_000


@needs_package
def test_the_hash_names_what_defines_the_pictures_not_where_they_lie(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(raw_folder(filled), raw_folder(tmp_path))
    plain = splits(filled).data_hash
    assert splits(tmp_path).data_hash == splits(filled, train_size=10**6).data_hash == plain
    changes = [{"resolution": 64}, {"train_size": 99}, {"validation_size": 99}, {"flip": False}, {"seed": 1}]
    assert len({plain, *(splits(filled, **change).data_hash for change in changes)}) == 6


def test_the_mask_is_what_is_enclosed_on_four_sides() -> None:
    grey = np.zeros((28, 28), np.uint8)
    grey[5:20, 5:20] = 200
    grey[8:12, 8:12] = 0  # a print: enclosed
    grey[15:20, 10:14] = 0  # between two legs: open below
    grey[2, 2] = 8  # noise
    expected = np.zeros((28, 28), bool)
    expected[5:20, 5:20] = True
    expected[15:20, 10:14] = False
    assert np.array_equal(garment_of(grey), expected)


@pytest.mark.parametrize("resolution", [16, 48, 64, 128])
def test_other_resolutions_resize_the_padded_square(resolution: int) -> None:
    picture = FashionDataset(garments(), resolution).picture(3)
    assert picture.pixels.shape == (3, resolution, resolution) and picture.pixels.dtype == np.uint8
    assert picture.is_object.shape == (resolution, resolution)
    scale = resolution / 32  # the square of 20 pixels starts at 4 + 2
    assert picture.pixels[0, int(16 * scale), int(16 * scale)] == 103
    assert picture.is_object.sum() == pytest.approx((20 * scale) ** 2, rel=0.05)
    rows = np.flatnonzero(picture.is_object.any(axis=1))
    assert abs(rows[0] - 6 * scale) <= 1 and abs(rows[-1] + 1 - 26 * scale) <= 1


def test_pictures_are_held_once() -> None:
    """The base class would keep a second copy, twelve times as large, in its memory."""
    dataset = FashionDataset(garments(), 32)
    _ = [dataset[index] for index in range(len(dataset))]
    assert not dataset._memory.known
    every = garments()
    assert every.some(np.arange(10)).images is every.images
    assert every.some(np.array([2, 5])).labels.tolist() == [2, 5]


def test_the_cache_is_where_it_lies_unless_a_root_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert data_root(None) == tmp_path / "data"
    assert data_root(Path("~/x")) == Path.home() / "x"


def test_without_the_files_the_three_ways_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path / "absent")
    for download in (False, True):
        with pytest.raises(DataError) as caught:
            splits(tmp_path, download=download)
        message = str(caught.value)
        assert "\n" not in message and "mvqlab data get fashion" in message
        assert "apt-get install dataset-fashion-mnist" in message and str(raw_folder(tmp_path)) in message
        assert ("cannot be downloaded" in message) == download
    assert socket.getdefaulttimeout() is None  # the patience with the network is over with the download


@needs_package
def test_get_takes_the_package_where_there_is_no_network(
    tmp_path: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tmp_path)]
    assert cli.main(["data", "get", "fashion", *root]) == 0
    assert "unpacked from the Debian package" in capsys.readouterr().out
    assert cli.main(["data", "get", "fashion", *root]) == 0
    assert "was there, and whole" in capsys.readouterr().out
    assert {*SHA256} <= {path.name for path in raw_folder(tmp_path).iterdir()}


@needs_package
def test_a_download_is_torchvisions(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server on this machine, in torchvision's place of the real one."""
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path / "absent")
    handler = partial(SimpleHTTPRequestHandler, directory=str(DEBIAN_FOLDER))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    packed = [DEBIAN_FOLDER / f"{name}.gz" for name in SHA256]
    sums = [hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in packed]
    monkeypatch.setattr(FashionMNIST, "resources", [(p.name, s) for p, s in zip(packed, sums, strict=True)])
    try:
        assert get(tmp_path) == "downloaded"
    finally:
        server.shutdown()
        server.server_close()
    assert splits(tmp_path).data_hash == splits(filled).data_hash


@needs_package
def test_a_damaged_file_is_named_and_mended_by_get(filled: Path, tmp_path: Path, offline: None) -> None:
    shutil.copytree(raw_folder(filled), raw_folder(tmp_path))
    damaged = raw_folder(tmp_path) / "t10k-labels-idx1-ubyte"
    content = bytearray(damaged.read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=rf"{re.escape(str(damaged))}: is damaged.*data get fashion"):
        splits(tmp_path)
    assert "unpacked" in get(tmp_path)
    assert len(splits(tmp_path).validation) == 10_000


@needs_package
def test_packed_files_put_there_by_hand_are_unpacked(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tools pack otherwise: only what is inside counts."""
    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path / "absent")
    raw_folder(tmp_path).mkdir(parents=True)
    for name in SHA256:
        packed = gzip.compress((raw_folder(filled) / name).read_bytes(), compresslevel=1)
        (raw_folder(tmp_path) / f"{name}.gz").write_bytes(packed)
    assert len(splits(tmp_path).train) == 60_000


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"x" * 9)[:-4], gzip.compress(b"other")],
    ids=["no gzip", "cut", "another file"],  # packed bytes hold the time: the same names on every worker
)
def test_a_damaged_packed_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path)
    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'train-images-idx3-ubyte.gz'}: ")):
        splits(tmp_path)
    assert not fashion_files.are_there(tmp_path)


def test_the_list_has_a_line_each_and_says_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path / "absent")
    lines = {}
    for state in ("without", "with"):
        assert cli.main(["data", "list", "--root", str(tmp_path)]) == 0
        lines[state] = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
        raw_folder(tmp_path).mkdir(parents=True, exist_ok=True)
        for name in SHA256:
            (raw_folder(tmp_path) / name).touch()
    assert {"shapes", "photos", "fashion", "folder"} <= set(lines["with"])
    assert "MIT" in lines["with"]["fashion"]
    assert lines["without"]["fashion"].endswith("not here: mvqlab data get fashion")
    assert lines["with"]["fashion"].endswith(f"here: {raw_folder(tmp_path)}")


def test_a_set_that_there_is_not_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    for typed, meant in (("fasion", "fashion"), ("cifar10", "CIFAR10"), ("folders", "folder")):
        assert cli.main(["data", "get", typed]) == 2
        assert f"did you mean {meant}" in capsys.readouterr().err


def test_what_is_not_fetched_says_all_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """As the settings have it: `data.name` alone is refused for some of these."""
    needs = {"torchvision": "data.set=CIFAR10", "folder": "data.root=FOLDER", "mixture": "data.mixture={"}
    assert set(catalogue.UNFETCHED) == {entry.name for entry in catalogue.entries()} - {"fashion"}
    for name in catalogue.UNFETCHED:
        assert cli.main(["data", "get", name]) == 2
        said = capsys.readouterr().err
        assert f"data.name={name}" in said and needs.get(name, "") in said


@pytest.mark.parametrize("name", ["fashion", "CIFAR10"])
def test_a_root_that_cannot_be_made_is_what_is_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["data", "get", name, "--root", str(tmp_path / "file" / "data")]) == 2
    said = capsys.readouterr().err
    assert "cannot be made" in said and "--root" in said and "by hand" not in said
