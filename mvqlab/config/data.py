"""Settings of the images: which, how many, of which size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from mvqlab.config.errors import MisfitError
from mvqlab.config.section import Section
from mvqlab.config.value_types import (
    KNOWN_MIXED,
    Images,
    Mixture,
    Positive,
    Processes,
    Seed,
    Side,
)
from mvqlab.config.words import (
    SETS_WITH_TRUE_MASKS,
    WITH_TRUE_MASKS,
    DataName,
    SceneKind,
)

DATA_SETTINGS_READERS = {  # settings that are left alone unless data.name is one of these
    "root": ("folder", "fashion", "torchvision", "mixture"),
    "captions": ("folder",),
    "set": ("torchvision",),
    "download": ("fashion", "torchvision", "mixture"),
    "mixture": ("mixture",),
}


class DataConfig(Section):
    """Where images come from."""

    name: DataName = "shapes"
    resolution: Side = 32  # side of the square images, pixels
    # both sizes are upper limits for `emoji`, `fashion` and `torchvision`, which have a size of their own
    train_size: Images = 20_000  # images in the training split (`folder`: taken from the folder)
    validation_size: Images = 512  # images in the held-out split (`folder`: see validation_share)
    scene: SceneKind = "full"  # `shapes` only: one to three objects, or one large one on a flat ground
    # `mixture` only: the share of each, such as {photos: 0.8, simple: 0.2}; any sum
    mixture: Mixture = Field(default={})
    root: Path | None = None  # `folder`: its images; `fashion`, `torchvision`: where sets lie (none: cache)
    set: str | None = None  # `torchvision` only: a class of torchvision.datasets, such as CIFAR10
    download: bool = False  # `fashion`, `torchvision`: fetch over the network what is not there
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05  # where images come in one part
    captions: Path | None = None  # `folder` only: CSV with columns `file` and `caption`
    # `folder` with captions: where more of its images have none, the table is taken to be incomplete
    uncaptioned_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    skip_bad: bool = False  # `folder` only: skip and count unreadable files rather than stop
    max_megapixels: Positive = 64.0  # of image files: larger ones are refused as decompression bombs
    flip: bool = True  # mirror stage 1's training images at random (all but `shapes`)
    seed: Seed = 0  # which images are drawn, and the split
    workers: Processes = 0  # loader processes; batches do not depend on it
    cache_tokens: bool = False  # keep stage 2's tokens on disk, for later runs on the same stage 1 and data

    @model_validator(mode="after")
    def _name_needs_more(self) -> DataConfig:
        if self.name == "folder" and self.root is None:
            raise ValueError("data.name is 'folder', so data.root must name the folder of images")
        if self.name == "torchvision" and self.set is None:
            raise ValueError(
                "data.name is 'torchvision', so data.set must name a class of torchvision.datasets, such as "
                "data.set=CIFAR10"
            )
        if self.name == "mixture" and not self.mixture:
            raise ValueError(
                "data.name is 'mixture', so data.mixture must give shares by name, such as "
                f"{{photos: 0.8, simple: 0.2}}; {KNOWN_MIXED}"
            )
        return self

    @model_validator(mode="after")
    def _settings_have_readers(self) -> DataConfig:
        for name, readers in DATA_SETTINGS_READERS.items():
            if getattr(self, name) and self.name not in readers:
                raise MisfitError(
                    f"data.{name} is given, but data.name is '{self.name}', which does not read it",
                    f"set data.name={' or '.join(readers)}",
                )
        return self

    @model_validator(mode="after")
    def _only_shapes_have_scenes(self) -> DataConfig:
        if self.scene != "full" and self.name != "shapes":
            raise MisfitError(
                f"data.scene is '{self.scene}', but data.name is '{self.name}', which draws no scenes",
                "set data.name=shapes",
            )
        return self

    @property
    def has_true_masks(self) -> bool:
        """Whether the pixels of objects are known."""
        return self.name in WITH_TRUE_MASKS or self.set in SETS_WITH_TRUE_MASKS
