"""The one door to the data: settings in, training and held-out pictures out."""

from __future__ import annotations

from mvqlab.config import DataConfig
from mvqlab.data import emoji, fashion, photos
from mvqlab.data.dataset import Splits
from mvqlab.data.emoji import emoji_splits, group_names
from mvqlab.data.fashion import CLASS_NAMES, fashion_splits
from mvqlab.data.folder import folder_splits
from mvqlab.data.mixture import mixture_splits
from mvqlab.data.photos import photos_splits
from mvqlab.data.shapes import SHAPE_NAMES, shapes_splits
from mvqlab.data.torchvision_data import torchvision_splits

SOURCES = {
    "shapes": shapes_splits,
    "emoji": emoji_splits,
    "photos": photos_splits,
    "fashion": fashion_splits,
    "folder": folder_splits,
    "torchvision": torchvision_splits,
}
CREDITS = {"emoji": emoji.CREDIT, "fashion": fashion.CREDIT, "photos": photos.CREDIT}


def build_splits(config: DataConfig) -> Splits:
    """Training and held-out pictures as `config` describes them.

    An item depends on (config.seed, split, index) alone. Raises DataError where the data cannot be used;
    for folders that is found out here, by trying every file, and not during training.
    """
    if config.name == "mixture":
        return mixture_splits(config, build_splits)
    return SOURCES[config.name](config)


def class_names(config: DataConfig) -> list[str]:
    """What labels mean, by number; of shapes, emoji and garments this is known without the data.

    Raises DataError where the data have to be looked at, and cannot be.
    """
    if config.name == "shapes":
        return list(SHAPE_NAMES)
    if config.name == "emoji":
        return group_names()
    if config.name == "fashion":
        return list(CLASS_NAMES)
    return build_splits(config).class_names


def credit_of(config: DataConfig) -> str:
    """`Splits.credit`, known without the data: whom pictures of a model of these data are shown with."""
    return ". ".join(CREDITS[name] for name in config.mixture or (config.name,) if name in CREDITS)
