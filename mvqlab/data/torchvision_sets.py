"""Which sets of torchvision.datasets can be learned from, and how each is asked for its parts.

torchvision's classes agree on little: some take train=True, some split="train" with names of their own for
the rest, some have no parts at all; labels and their names stand in attributes of many names. What differs is
written down here; `torchvision_data` knows no set by name.

Not among them are videos, pairs of images (stereo, optical flow) and sets that are no more than annotations
to files which have to be named one by one (COCO, Flickr). Licences are each set's own: see its page.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from mvqlab.support.torchvision_guard import import_torchvision

DIGITS = tuple("0123456789")
EMOTIONS = ("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral")
NAME_ATTRIBUTES = ("classes", "categories", "_characters")  # where sets keep the names of their classes
LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")  # and one label an image
PAIR_ATTRIBUTES = ("_samples", "samples", "_flat_character_images")  # and pairs (image, label)


class Images(Protocol):
    """A set of torchvision's: made of a root folder and what its own class asks for, then read by number."""

    def __init__(self, root: str, **arguments: Any) -> None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, Any]: ...


class Kind(NamedTuple):
    """How a set's class is asked for its parts, and what it does not say itself."""

    train: dict[str, Any]  # arguments for the training images
    held_out: dict[str, Any] | None  # for the others; None: there is one part, of which a share is held out
    names: tuple[str, ...] = ()  # of the classes, where the set keeps none
    mask_of: Callable[[Any], Image.Image] | None = None  # the mask image in a target
    is_object: Callable[[np.ndarray], np.ndarray] | None = None  # and which of its values are objects
    more: dict[str, Any] = {}  # noqa: RUF012 -- never changed


def _flag(**more: Any) -> Kind:
    return Kind({"train": True}, {"train": False}, **more)


def _split(train: str, held_out: str, argument: str = "split", **more: Any) -> Kind:
    return Kind({argument: train}, {argument: held_out}, **more)


def _whole(**more: Any) -> Kind:
    return Kind({}, None, **more)


# Where a set has images for choosing models (val) beside those for a last test, the former are held out.
KINDS: dict[str, Kind] = {
    "Caltech101": _whole(),
    "Caltech256": _whole(),
    "CelebA": _split("train", "valid"),
    "CIFAR10": _flag(),
    "CIFAR100": _flag(),
    "CLEVRClassification": _split("train", "val"),  # the label counts the objects
    "Country211": _split("train", "valid"),
    "DTD": _split("train", "val"),
    "EMNIST": _flag(more={"split": "balanced"}),  # characters lie on their side, as torchvision has them
    "EuroSAT": _whole(),
    "FashionMNIST": _flag(),
    "FER2013": _split("train", "test", names=EMOTIONS),
    "FGVCAircraft": _split("train", "val"),
    "Flowers102": _split("train", "val"),
    "Food101": _split("train", "test"),
    "GTSRB": _split("train", "test"),
    "ImageNet": _split("train", "val"),
    "Imagenette": _split("train", "val"),
    "KMNIST": _flag(),
    "LFWPeople": _split("train", "test"),
    "MNIST": _flag(),
    "Omniglot": _whole(),  # its other part holds other alphabets
    "OxfordIIITPet": _split(
        "trainval",
        "test",
        more={"target_types": ["category", "segmentation"]},
        mask_of=lambda target: target[1],
        is_object=lambda trimap: trimap != 2,  # 1 is the pet, 2 what is around, 3 the border between them
    ),
    "PCAM": _split("train", "val", names=("no tumour", "tumour")),
    "Places365": _split("train-standard", "val", more={"small": True}),
    "QMNIST": _flag(),
    "RenderedSST2": _split("train", "val"),
    "SEMEION": _whole(names=DIGITS),
    "StanfordCars": _split("train", "test"),
    "STL10": _split("train", "test"),
    "SUN397": _whole(),
    "SVHN": _split("train", "test", names=DIGITS),
    "USPS": _flag(names=DIGITS),
    "VOCSegmentation": _split(
        "train",
        "val",
        argument="image_set",
        mask_of=lambda target: target,
        is_object=lambda classes: classes != 0,  # 0 is the background, 255 the border of an object
    ),
    "WIDERFace": _split("train", "val"),
}


def class_of(name: str) -> type[Images]:
    """The class `name` of torchvision.datasets."""
    import_torchvision()  # before what is torchvision's
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def can_download(of_set: type[Images]) -> bool:
    """Whether the set's class takes `download`, itself or by handing it on to one it inherits from."""
    constructors = [vars(cls)["__init__"] for cls in of_set.__mro__ if "__init__" in vars(cls)]
    return any("download" in inspect.signature(constructor).parameters for constructor in constructors)


def labels_of(part: Images) -> np.ndarray | None:
    """One label an image (N,) int, without decoding any; None where the set does not keep whole numbers."""
    lists = [getattr(part, name, None) for name in LABEL_ATTRIBUTES]
    pairs = [getattr(part, name, None) for name in PAIR_ATTRIBUTES]
    lists += [[pair[1] for pair in of_set] for of_set in pairs if of_set is not None]
    for labels in lists:
        if labels is not None and len(labels) == len(part) and len(labels):
            array = np.asarray(labels)
            if array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
                return array.astype(int)
    return None


def class_names_of(part: Images, kind: Kind) -> list[str]:
    """The names of the classes by label; numbers where labels have no names, [] where there are none."""
    if kind.names:
        return list(kind.names)
    for attribute in NAME_ATTRIBUTES:
        names = getattr(part, attribute, None)
        if names:
            return [_plain(name) for name in names]
    labels = labels_of(part)
    return [] if labels is None else [str(label) for label in range(labels.max() + 1)]


def file_names_of(part: Images) -> list[str]:
    """A name an image that is the same on every machine: its file's where the set lists files, else a number.

    Some sets list their files as the file system does, in no order.
    """
    files = getattr(part, "_image_files", None)
    if files is None:
        return [f"{number:08d}" for number in range(len(part))]
    root = getattr(part, "root")  # noqa: B009 -- not all sets have one
    return [Path(path).relative_to(root).as_posix() for path in files]


def _plain(name: Any) -> str:
    """The name in words; of several names for a class, the first."""
    first = name if isinstance(name, str) else name[0]
    return " ".join(first.replace("_", " ").split())
