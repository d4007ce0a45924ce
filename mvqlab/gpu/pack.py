"""Everything that `mvqlab gpu train` learns from, in one file made beforehand on a CPU.

    emoji/rgba (M, 4, 256, 256), and labels and families (M,), of the training drawings
    emoji/held_out (M, 3, 64, 64) with labels; emoji128/held_out the same at 128 pixels
    fashion/train (60000, 28, 28), fashion/train_labels (60000,), and the same with held_out
    simple/train (M, 3, 32, 32), labels, captions as JSON, and the same with held_out; simple64/train
    photos/NAME (3, h, w) of the training photographs; photos/held_out (M, 3, 64, 64)

The file is a ZIP archive of .npy arrays, which `numpy.load` reads, too; LZMA makes flat drawings small.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from mvqlab.config import DataConfig
from mvqlab.data import PictureDataset, build_splits
from mvqlab.data.emoji import group_names, rendered
from mvqlab.data.fashion import read_garments
from mvqlab.data.fashion_files import provide
from mvqlab.data.fetching import data_root
from mvqlab.data.photos import TRAINING, decoded
from mvqlab.support.files import whole_file
from mvqlab.support.progress import Progress

Arrays = dict[str, np.ndarray]
EMOJI_SIDE = 256  # twice the side of the largest images that are learned from them


class PackError(ValueError):
    """A file cannot be read as a pack. The message says what to do."""


def write_pack(path: Path, n_simple: int = 24_000, n_held_out: int = 384) -> Path:
    """Render all sets and write them to `path`, whole. Raises DataError where a set is not there."""
    provide(data_root(None), download=False)  # what may be missing is asked for before minutes of rendering
    parts = {
        "emoji": lambda: _emoji(n_held_out),
        "fashion": lambda: _fashion(4 * n_held_out),
        "simple": lambda: _simple("simple", 32, n_simple, n_held_out),
        "simple64": lambda: _simple("simple64", 64, n_simple // 5, n_held_out),
        "photos": lambda: _photos(n_held_out),
    }
    with (
        whole_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive,
        Progress("packing", len(parts)) as progress,
    ):
        for render in parts.values():
            _add(archive, render())
            progress.advance()
    return path


def _add(archive: zipfile.ZipFile, arrays: Arrays) -> None:
    for name, array in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def read_pack(path: Path) -> Arrays:
    """All arrays by name. Raises PackError where the file is damaged, or none that was packed."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError:
        raise
    except Exception as error:  # of what is damaged, zipfile, lzma and numpy raise whatever they meet
        raise PackError(
            f"{path} is no whole pack ({type(error).__name__}: {error}): make it anew, with "
            f"`mvqlab gpu pack {path}`"
        ) from None
    if not arrays:
        raise PackError(f"{path} holds nothing: make it anew, with `mvqlab gpu pack {path}`")
    return arrays


def captions_of(array: np.ndarray) -> list[str]:
    """Captions from the bytes that `as_bytes` made of them."""
    return json.loads(array.tobytes())


def as_bytes(captions: list[str]) -> np.ndarray:
    """Captions as bytes (n,) uint8, since an archive without pickles holds numbers only."""
    return np.frombuffer(json.dumps(captions).encode(), np.uint8)


def _emoji(n_held_out: int) -> Arrays:
    config = DataConfig(name="emoji", validation_size=n_held_out)
    drawings = rendered(EMOJI_SIDE)
    in_training = ~drawings.is_held_out(config.seed)
    numbers = {group: number for number, group in enumerate(group_names())}
    labels = np.array([numbers[group] for group in drawings.groups], np.int16)
    families = np.unique(drawings.families, return_inverse=True)[1].astype(np.int16)
    arrays = {
        "emoji/rgba": drawings.rgba[in_training],
        "emoji/labels": labels[in_training],
        "emoji/families": families[in_training],
    }
    for name, resolution in (("emoji/held_out", 64), ("emoji128/held_out", 128)):
        splits = build_splits(config.model_copy(update={"resolution": resolution}))
        arrays |= _pictures(name, splits.validation)
    return arrays


def _fashion(n_held_out: int) -> Arrays:
    root = data_root(None)
    arrays: Arrays = {}
    for split, part, n in (("train", "train", None), ("held_out", "t10k", n_held_out)):
        images, labels = read_garments(root, part)
        arrays[f"fashion/{split}"] = images[:n]
        arrays[f"fashion/{split}_labels"] = labels[:n].astype(np.int16)
    return arrays


def _simple(name: str, resolution: int, n_train: int, n_held_out: int) -> Arrays:
    config = DataConfig(
        name="shapes", scene="simple", resolution=resolution, train_size=n_train, validation_size=n_held_out
    )
    splits = build_splits(config)
    arrays: Arrays = {}
    for split, dataset in (("train", splits.train), ("held_out", splits.validation)):
        arrays |= _pictures(f"{name}/{split}", dataset)
    return arrays


def _photos(n_held_out: int) -> Arrays:
    arrays = {
        f"photos/{photograph.name}": np.asarray(decoded(photograph.path)).transpose(2, 0, 1)
        for photograph in TRAINING
    }
    config = DataConfig(name="photos", resolution=64, validation_size=n_held_out)
    return arrays | _pictures("photos/held_out", build_splits(config).validation)


def _pictures(name: str, dataset: PictureDataset) -> Arrays:
    pictures = [dataset.picture(index) for index in range(len(dataset))]
    return {
        name: np.stack([picture.pixels for picture in pictures]),
        f"{name}_labels": np.array([picture.label for picture in pictures], np.int16),
        f"{name}_captions": as_bytes([picture.caption for picture in pictures]),
    }
