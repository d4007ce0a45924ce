"""From an image file of any kind to a square of 8-bit colours.

Transparent pixels are laid over white; 16-bit and floating-point greys are scaled to 8 bits; palettes, CMYK
and greys become RGB; a camera's rotation mark is obeyed; of an animation the first frame counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mvqlab.data.samples import DataError

_EXTENSIONS = "png jpg jpeg jpe jfif webp bmp gif tif tiff jp2 ppm pgm pbm pnm"
IMAGE_SUFFIXES = frozenset(f".{extension}" for extension in _EXTENSIONS.split())
# a closed list: some of Pillow's other formats start outside programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")


def read_square(path: Path, resolution: int, max_megapixels: float) -> np.ndarray:
    """(3, resolution, resolution) uint8: the image's central square, resized with antialiasing.

    Raises DataError, naming the file and its fault in one line.
    """
    with faults_of(path), open_image(path, max_megapixels) as image:
        return _decode_square(image, resolution)


def square_of(content: bytes, name: str, resolution: int, max_megapixels: float) -> np.ndarray:
    """`read_square` of a file's bytes, which `name` stands for in messages. Raises DataError."""
    with faults_of(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_pixels(image, name, max_megapixels, "the limit")
        return _decode_square(image, resolution)


def check_image(path: Path, max_megapixels: float) -> None:
    """Make sure that `read_square` will manage, as cheaply as that can be known.

    A PNG file carries check sums, so its pixels need no unpacking; everything else is decoded, a JPEG
    file at an eighth of its size. Raises DataError, naming the file and its fault in one line.
    """
    with faults_of(path), open_image(path, max_megapixels) as image:
        if image.format == "PNG":
            image.verify()
        else:
            _decode_square(image, 1)


def open_image(path: Path, max_megapixels: float) -> Image.Image:
    """Open an image and read its header, no more. Raises DataError where it is too large to decode safely."""
    image = Image.open(path, formats=FORMATS)
    try:
        _check_pixels(image, path, max_megapixels, "data.max_megapixels")
    except DataError:
        image.close()
        raise
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """The image upright and in 8-bit RGB. Raises what Pillow raises where it cannot be decoded."""
    image.load()
    with suppress(Exception):  # a rotation mark, however it is damaged, says nothing about the pixels
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
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


def _check_pixels(image: Image.Image, name: Path | str, max_megapixels: float, limit: str) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise DataError(
            f"{name}: {image.width} x {image.height} pixels are {megapixels:.1f} megapixels, more than "
            f"{limit} ({max_megapixels:g})"
        )


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Greys of more than 8 bits: integers are taken to run to 65535, floating point to 1 (else to 255)."""
    if np.issubdtype(grey.dtype, np.floating):
        if n_bad := grey.size - int(np.isfinite(grey).sum()):
            raise ValueError(f"{n_bad} of {grey.size} pixels are NaN or infinite")
        scale = 255.0 if grey.size and grey.max() <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return np.clip(grey * scale + 0.5, 0.0, 255.0).astype(np.uint8)


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
