"""From an image file of any kind to a square of 8-bit colours.

Transparent pixels are laid over white; greys of 16 and 32 bits are scaled to 8; palettes, CMYK
and greys become RGB; a camera's rotation mark is obeyed; of an animation the first frame counts.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mvqlab.data.dataset import DataError
from mvqlab.data.png_rows import check_rows

_EXTENSIONS = "png jpg jpeg jpe jfif webp bmp gif tif tiff jp2 ppm pgm pbm pnm"
IMAGE_SUFFIXES = frozenset(f".{extension}" for extension in _EXTENSIONS.split())
_NOT_READ = "heic heif hif avif jxl tga psd ico svg exr hdr cr2 cr3 nef arw dng raf orf rw2"
# images by their names, too: who has them in a folder of images is told that they are not read
UNREAD_SUFFIXES = frozenset(f".{extension}" for extension in _NOT_READ.split())
LARGE = 8.0  # megapixels from which images are tried one at a time: sixteen at once may need 16 GiB
_one_large = threading.Lock()
# a closed list: some of Pillow's other formats start outside programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")

BITS_PER_SAMPLE, SAMPLE_FORMAT, UNSIGNED = 258, 339, 1  # of TIFF
OVERSHOOT = 2.0


def read_square(path: Path, resolution: int, max_megapixels: float) -> np.ndarray:
    """(3, resolution, resolution) uint8: the image's central square, resized with antialiasing.

    Raises DataError, naming the file and its fault in one line.
    """
    with opened(path, max_megapixels) as image:
        return _decode_square(image, resolution)


def square_of(content: bytes, name: str, resolution: int, max_megapixels: float) -> np.ndarray:
    """`read_square` of a file's bytes, which `name` stands for in messages. Raises DataError."""
    with faults_of(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        check_pixels(image, name, max_megapixels, "the limit")
        return _decode_square(image, resolution)


def check_image(path: Path, max_megapixels: float) -> None:
    """Decode an image, so that `read_square` is known to manage; a JPEG file at an eighth of its size.

    Of a PNG file the check sums and the number of its rows are tried besides, to which its decoder pays
    little heed. Raises DataError, naming the file and its fault in one line.
    """
    with opened(path, max_megapixels) as image:
        is_png = image.format == "PNG"
        _try_decoding(image)
    if is_png:
        with opened(path, max_megapixels) as image:  # once decoded, it cannot be verified
            image.verify()
        with faults_of(path), _regular_file(path) as file:
            check_rows(file)


@contextmanager
def opened(path: Path, max_megapixels: float) -> Iterator[Image.Image]:
    """An image of which the header has been read, no more; see `open_image`.

    Raises DataError in one line for whatever is raised inside over a broken file, too.
    """
    with faults_of(path), open_image(path, max_megapixels) as image:
        yield image


@contextmanager
def open_image(path: Path, max_megapixels: float) -> Iterator[Image.Image]:
    """The door that every image file comes through.

    Raises DataError where it is no regular file, of a kind that is not read, or too large to decode safely,
    and what Pillow raises where it cannot be opened.
    """
    with _regular_file(path) as file:
        _refuse_unread(file, path)
        with Image.open(file, formats=FORMATS) as image:
            check_pixels(image, path, max_megapixels, "data.max_megapixels")
            yield image


def _regular_file(path: Path) -> BinaryIO:
    """The file at `path`, open. Raises DataError where it is a folder, a pipe, a socket or a device.

    A pipe would be waited for without end, and to open a device may do something.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: is not a regular file (but a folder, a pipe, a socket or a device)")
    # without waiting, should it have become a pipe since
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def _refuse_unread(file: BinaryIO, path: Path) -> None:
    """Raise DataError for a kind of image that is not read, by its name or, of a telephone's, by content."""
    head = file.read(12)
    file.seek(0)
    suffix = path.suffix.lower()
    if head[4:8] == b"ftyp" and suffix not in UNREAD_SUFFIXES:
        suffix = f".{head[8:12].decode('ascii', errors='replace').strip()}"  # a .heic that is called .jpg
    elif suffix not in UNREAD_SUFFIXES:
        return
    raise DataError(unread(path, suffix))


def unread(path: Path, suffix: str) -> str:
    """What is said of an image file whose kind, `suffix`, is not read."""
    return f"{path}: {suffix.removeprefix('.').upper()} images are not read: convert it to PNG or JPEG"


def _try_decoding(image: Image.Image) -> None:
    is_large = image.width * image.height > LARGE * 1e6
    with _one_large if is_large else nullcontext():
        _decode_square(image, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image upright and in 8-bit RGB. Raises what Pillow raises where it cannot be decoded."""
    image.load()
    bits = _bits(image)  # before the image is turned, which loses it
    with suppress(Exception):  # a rotation mark, however it is damaged, says nothing about the pixels
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(np.asarray(image), bits)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def centre_square(image: Image.Image, resolution: int) -> Image.Image:
    """The largest central square, resized to `resolution` pixels a side with antialiasing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return resized(image, (left, top, left + side, top + side), resolution)


def resized(image: Image.Image, box: tuple[int, int, int, int], resolution: int) -> Image.Image:
    """The square `box` (left, top, right, bottom) of an image, resized to `resolution` pixels a side."""
    return image.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)


def to_pixels(image: Image.Image) -> np.ndarray:
    """(3, H, W) uint8 from an RGB image."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def check_pixels(image: Image.Image, name: Path | str, max_megapixels: float, limit: str) -> None:
    """Raise DataError where `image`, called `name`, has more pixels than `limit` (a setting) lets it."""
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise DataError(
            f"{name}: {image.width} x {image.height} pixels are {megapixels:.1f} megapixels, more than "
            f"{limit} ({max_megapixels:g})"
        )


class _Bits(NamedTuple):
    """Of a grey: 32 where its samples say nothing of the range that they use, else 16."""

    n: int
    is_unsigned: bool = False


def _bits(image: Image.Image) -> _Bits:
    """How the greys of an image of more than 8 bits are stored; Pillow's mode I is 16 bits or 32."""
    if image.mode != "I" or image.format in ("PNG", "PPM"):
        return _Bits(32 if image.mode == "F" else 16)
    tags = getattr(image, "tag_v2", {})
    return _Bits(tags.get(BITS_PER_SAMPLE, (32,))[0], tags.get(SAMPLE_FORMAT, (0,))[0] == UNSIGNED)


def _to_8_bits(grey: np.ndarray, bits: _Bits) -> np.ndarray:
    """Greys of more than 8 bits in 8. Those of 16 bits run to 65535, those of 32 as far as `_top` says."""
    if bits == (32, True):
        grey = grey.view(np.uint32)  # Pillow reads them as if they had a sign
    if n_bad := grey.size - int(np.isfinite(grey).sum()):
        raise ValueError(f"{n_bad} of {grey.size} pixels are NaN or infinite")
    top = 65535.0 if bits.n == 16 else _top(grey)
    return np.clip(grey * (255.0 / top) + 0.5, 0.0, 255.0).astype(np.uint8)


def _top(grey: np.ndarray) -> float:
    """What white is among greys whose type does not tell.

    1 (floating point), 255 or 65535, the first that holds them all, else the most that there is. Floating
    point may overshoot white, as resampling does.
    """
    most = float(grey.max())
    if np.issubdtype(grey.dtype, np.floating):
        return next((top for top in (1.0, 255.0, 65535.0) if most <= OVERSHOOT * top), most)
    return next((top for top in (255.0, 65535.0) if most <= top), most)


def _decode_square(image: Image.Image, resolution: int) -> np.ndarray:
    if image.format == "JPEG":
        # decodes at 1/2, 1/4 or 1/8 of the size where that is still twice the size that is needed
        image.draft("RGB", (2 * resolution, 2 * resolution))
    return to_pixels(centre_square(to_rgb(image), resolution))


@contextmanager
def faults_of(path: Path | str) -> Iterator[None]:
    """Turn whatever a decoder raises over a broken file into one line with the file's name."""
    try:
        yield
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: is not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: has more pixels than Pillow ever decodes, whatever data.max_megapixels says"
        ) from None
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error and more on bad files
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason})") from error
