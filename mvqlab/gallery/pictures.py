"""The kept pictures of what models do: masks and what comes back, sheets of samples, widgets.

What is shown is chosen by number, never by looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvqlab.config import DataConfig
from mvqlab.data import build_splits, credit_of, emoji, photos
from mvqlab.data.drawing import Object, draw
from mvqlab.data.image_files import centre_square, to_pixels
from mvqlab.data.pixels import from_uint8
from mvqlab.data.shapes import COLOURS
from mvqlab.evaluation.images.choice import Rank, at_random, by_score
from mvqlab.evaluation.images.masked_image import EncodedImage, MaskedImage
from mvqlab.gallery.asked import Asked, KeptError
from mvqlab.models.mqvae import TokenModel
from mvqlab.plots.mask_moving import RATIOS, STILL_RATIOS, Stop, moving, save_moving, stacked
from mvqlab.plots.picture_rows import hide_dropped
from mvqlab.plots.sheet import GAP, Row, save_png, sheet
from mvqlab.training.origin import class_names_of
from mvqlab.widgets import screenshot
from mvqlab.zoo.by_name import sample
from mvqlab.zoo.shipped import load_stage1_named
from mvqlab.zoo.trained import load_trained

N_GROUPS = 9  # of the emoji
N_MOVING = 8  # images
SHOWN_SIDE = 128  # pixels of an image in a picture, or a little less: enlargement is by whole factors
LEARNED, RANDOM = "learned", "random"
RANKS: dict[str, Rank] = {LEARNED: by_score, RANDOM: at_random}


def mask_ratio_moving(asked: Asked) -> list[Path]:
    """Eight emoji while the mask ratio goes up and back, and a still of some ratios."""
    model = load_stage1_named(asked.model)
    encoded = [EncodedImage(model, image) for image in one_of_each_group(model, N_MOVING)]
    originals = np.stack([as_pixels(one.image) for one in encoded])
    foot = [f"Held-out drawings, the first of each of eight groups. {emoji.CREDIT}"]
    factor = factor_for(model)
    frames = moving(originals, [stop_at(encoded, ratio) for ratio in RATIOS], foot, factor)
    still = stacked(originals, [stop_at(encoded, ratio) for ratio in STILL_RATIOS], foot, factor)
    return [
        save_moving(frames, asked.folder / "mask_ratio_moving.webp"),
        save_png(still, asked.folder / "mask_ratio_still.png"),
    ]


def one_of_each_group(model: TokenModel, n: int = N_GROUPS) -> list[Tensor]:
    """The first held-out drawing of each of the first `n` groups of emoji, (3, H, W) in [-1, 1]."""
    data = model.config.data
    held_out = build_splits(DataConfig(name="emoji", resolution=data.resolution, seed=data.seed)).validation
    first: dict[int, Tensor] = {}
    for index in range(len(held_out)):
        first.setdefault(held_out[index]["label"], held_out[index]["image"])
    return [first[label] for label in sorted(first)[:n]]


def stop_at(encoded: Sequence[EncodedImage], mask_ratio: float) -> Stop:
    """What is kept of images, and what comes back, at one mask ratio."""
    side = encoded[0].model.side
    masked = [one.keep(one.best_at(mask_ratio)) for one in encoded]
    return Stop(
        mask_ratio,
        np.stack([one.is_kept.view(side, side).numpy() for one in masked]),
        np.stack([as_pixels(one.image) for one in masked]),
    )


def sample_sheet(name: str, n_rows: int, asked: Asked) -> list[Path]:
    """`n_rows` samples of each class, number 0 and on, a column a class."""
    trained = load_trained(asked.model, asked.stage1)
    names, credit = class_names_of(trained.folder, trained.config), credit_of(trained.config.data)
    n_classes = len(names)
    drawn = sample(n_rows * n_classes, asked.model, stage1=asked.stage1, seed=0)
    images = [as_pixels(image) for image in drawn.images]
    rows = [Row(images[start : start + n_classes]) for start in range(0, len(images), n_classes)]
    numbers = f"samples 0 to {len(images) - 1}, not selected"
    foot = [f"{Path(asked.model).name}: {numbers}; {settings_of(drawn.asked)}"]
    foot += [credit] if credit else []
    picture = sheet(rows, factor_for(trained.stage1), columns=names, foot=foot)
    return [save_png(picture, asked.folder / f"{name}.png")]


def settings_of(asked: dict[str, Any]) -> str:
    """How samples were drawn, such as "seed 0, guidance 1, filters off"."""
    codes, places = asked["code_guidance"], asked["position_guidance"]
    guidance = f"{codes:g}" if codes == places else f"{codes:g} of codes and {places:g} of positions"
    names = {"code_top_k": 0, "code_top_p": 1.0, "position_top_k": 0, "position_top_p": 1.0}
    filters = [f"{name} {asked[name]:g}" for name, off in names.items() if asked[name] != off]
    return f"seed {asked['seed']}, guidance {guidance}, filters {', '.join(filters) or 'off'}"


def reconstructions_emoji(asked: Asked) -> list[Path]:
    """The first emoji of each group at several mask ratios, once with a random mask."""
    model = load_stage1_named(asked.model)
    settings = [(0.5, LEARNED), (0.75, LEARNED), (0.75, RANDOM), (0.9, LEARNED)]
    rows = reconstruction_rows(model, one_of_each_group(model), settings)
    foot = [
        f"{Path(asked.model).name}: held-out drawings, the first of each group. dB: mean PSNR of these.",
        emoji.CREDIT,
    ]
    picture = sheet(rows, factor_for(model), foot=foot)
    return [save_png(picture, asked.folder / "reconstructions_emoji.png")]


def reconstructions_anything(asked: Asked) -> list[Path]:
    """Images that nothing was trained on, at several mask ratios."""
    model = load_stage1_named(asked.model)
    images = any_images(model)
    settings = [(0.5, LEARNED), (0.75, LEARNED), (0.9, LEARNED)]
    rows = reconstruction_rows(model, list(images.values()), settings)
    foot = [
        f"{Path(asked.model).name}: nothing here was trained on; crops and emoji by number. "
        "dB: mean PSNR of these.",
        "Astronaut (Eileen Collins): NASA, public domain. Flower: vultilion on Flickr, CC BY 2.0, cropped. "
        f"{emoji.CREDIT}",
    ]
    columns = [name.rstrip("0123456789 ") for name in images]
    picture = sheet(rows, factor_for(model), columns=columns, foot=foot)
    return [save_png(picture, asked.folder / "reconstructions_anything.png")]


def any_images(model: TokenModel) -> dict[str, Tensor]:
    """Images that no training set holds, by name: drawn, whole photographs, crops, emoji.

    (3, H, W) in [-1, 1] each; of a kind that there is more than one of, names end in a number.
    """
    resolution, seed = model.config.data.resolution, model.config.data.seed
    disc = Object("disc", "plain", np.array(COLOURS["red"]), (0.5, 0.5), 0.3, 0.0)
    found = {"a red disc": draw([disc], np.ones((3, 2, 2)), resolution).pixels}
    for photograph in photos.HELD_OUT:
        found[photograph.name] = to_pixels(centre_square(photos.decoded(photograph.path), resolution))
    images = {name: from_uint8(torch.from_numpy(pixels)) for name, pixels in found.items()}
    crops = build_splits(
        DataConfig(name="photos", resolution=resolution, validation_size=4, seed=seed)
    ).validation
    images |= {f"a crop {index}": crops[index]["image"] for index in range(4)}
    return images | {f"emoji {index}": image for index, image in enumerate(one_of_each_group(model, 3))}


def reconstruction_rows(
    model: TokenModel, images: Sequence[Tensor], settings: Sequence[tuple[float, str]]
) -> list[Row]:
    """Originals, then for each mask ratio and kind of mask what is kept and what comes back."""
    encoded = [EncodedImage(model, image) for image in images]
    rows = [Row([as_pixels(one.image) for one in encoded], "original")]
    for mask_ratio, kind in settings:
        masked = [one.keep(one.best_at(mask_ratio, RANKS[kind], seed)) for seed, one in enumerate(encoded)]
        kept = [_kept(one, made) for one, made in zip(encoded, masked, strict=True)]
        psnr = np.mean([made.psnr for made in masked])
        dropped = f"{mask_ratio:.0%} dropped".replace("%", " %") + (",\nat random" if kind == RANDOM else "")
        rows.append(Row(kept, dropped, 2 * GAP))
        rows.append(Row([as_pixels(made.image) for made in masked], f"comes back,\n{psnr:.1f} dB"))
    return rows


def widget(name: str, asked: Asked) -> list[Path]:
    """A widget as it looks in a browser, with its own model. Raises KeptError where there is no browser."""
    cell = {"mask_explorer": screenshot.EXPLORER, "generation_player": screenshot.PLAYER}[name]
    try:
        return [screenshot.take(cell, asked.folder / f"{name}.png")]
    except RuntimeError as error:  # no browser here, or no server of pages
        raise KeptError(f"{name}: {error}") from None


def factor_for(model: TokenModel) -> int:
    """How many times an image of `model` is enlarged: up to `SHOWN_SIDE` pixels, small ones not as far."""
    resolution = model.config.data.resolution
    return max(1, min(3, SHOWN_SIDE // resolution))


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) from an image (3, H, W) uint8."""
    return image.permute(1, 2, 0).numpy()


def _kept(encoded: EncodedImage, made: MaskedImage) -> NDArray[np.uint8]:
    side = encoded.model.side
    return hide_dropped(as_pixels(encoded.image), made.is_kept.view(side, side).numpy(), fading=1.0)
