"""The data that a planned model learns from, from the arrays of a pack onto the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data.shapes import SHAPE_NAMES
from mvqlab.gpu.pack import Arrays, captions_of
from mvqlab.models.caption_tokenizer import CaptionTokenizer, train_caption_tokenizer
from mvqlab.training.device_data import (
    Drawings,
    DrawnImages,
    ImageSource,
    Mixture,
    StoredImages,
    halved,
    photo_windows,
)

PHOTO_WINDOWS = 100_000
MIXED = {"emoji": 0.4, "photos": 0.5, "simple": 0.1}


class DeviceData(NamedTuple):
    """A data set on the device: what is drawn in training, and the held-out pixels with their conditions."""

    source: ImageSource
    held_out: DrawnImages
    n_classes: int = 0
    tokenizer: CaptionTokenizer | None = None


def _emoji(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    resolution = config.data.resolution
    rgba, labels = _on(device, arrays["emoji/rgba"]), _on(device, arrays["emoji/labels"]).long()
    while rgba.shape[-1] > 2 * resolution:
        rgba = halved(rgba)
    name = f"emoji{resolution if resolution != 64 else ''}/held_out"
    held_out = DrawnImages(_on(device, arrays[name]), _on(device, arrays[f"{name}_labels"]).long())
    families = _on(device, arrays["emoji/families"]).long()
    source = Drawings(rgba, resolution, labels, families=families)
    return DeviceData(source, held_out, int(labels.max()) + 1)


def _fashion(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    def padded(name: str) -> Tensor:
        return torch.nn.functional.pad(_on(device, arrays[name]), (2, 2, 2, 2)).unsqueeze(1)  # (M, 1, 32, 32)

    labels = _on(device, arrays["fashion/train_labels"]).long()
    of_held_out = _on(device, arrays["fashion/held_out_labels"]).long()
    held_out = DrawnImages(padded("fashion/held_out"), of_held_out)
    return DeviceData(StoredImages(padded("fashion/train"), labels, mirror=True), held_out, 10)


def _simple(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    labels = _on(device, arrays["simple/train_labels"]).long()
    of_held_out = _on(device, arrays["simple/held_out_labels"]).long()
    source = StoredImages(_on(device, arrays["simple/train"]), labels)
    held_out = DrawnImages(_on(device, arrays["simple/held_out"]), of_held_out)
    return DeviceData(source, held_out, len(SHAPE_NAMES))


def _simple_captions(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    plain = _simple(arrays, config, device)
    captions = captions_of(arrays["simple/train_captions"])
    settings = config.transformer
    tokenizer = train_caption_tokenizer(captions, settings.vocabulary_size, settings.caption_length)
    tokens = tokenizer.encode(captions).to(device)
    of_held_out = tokenizer.encode(captions_of(arrays["simple/held_out_captions"])).to(device)
    source = StoredImages(_on(device, arrays["simple/train"]), tokens)
    return DeviceData(source, plain.held_out._replace(conditions=of_held_out), 0, tokenizer)


def _anything(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    names = sorted({name for name in arrays if name.startswith("photos/") and "held_out" not in name})
    photographs = [_on(device, arrays[name]) for name in names]
    windows = photo_windows(photographs, config.data.resolution, PHOTO_WINDOWS)
    sources = [
        StoredImages(windows, mirror=True, hues=True),
        _emoji(arrays, config, device).source,
        StoredImages(_on(device, arrays["simple64/train"]), hues=True),
    ]
    held_out = DrawnImages(_on(device, arrays["photos/held_out"]), None)
    return DeviceData(Mixture(sources, [MIXED["photos"], MIXED["emoji"], MIXED["simple"]]), held_out)


DATA: dict[str, Callable[[Arrays, Config, torch.device], DeviceData]] = {
    "emoji": _emoji,
    "fashion": _fashion,
    "simple": _simple,
    "simple_captions": _simple_captions,
    "anything": _anything,
}


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
