"""Pictures from strangers: decoded in memory, within limits, with words for what is wrong."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvqlab.data.dataset import DataError
from mvqlab.widgets.picture_file import MEGABYTES, PictureFile, picture_from


def file_of(kind: str, size: tuple[int, int] = (40, 20), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(noise.squeeze()).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header speaks of any number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_usual_kinds_become_a_square_in_range(kind: str) -> None:
    image = picture_from(file_of(kind), f"a.{kind}", 16)
    assert image.shape == (3, 16, 16) and image.dtype == torch.float32
    assert -1.0 <= image.min() < image.max() <= 1.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.7 ...", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (file_of("PNG")[:200], "cannot be read"),
        (png_that_claims(50_000, 50_000), "more pixels than Pillow ever decodes|2500.0 megapixels"),
        (png_that_claims(9_000, 9_000), r"81.0 megapixels, more than the limit \(40\)"),
        (png_that_claims(40, 40), "cannot be read"),
    ],
    ids=["nothing", "svg", "pdf", "eps", "cut short", "bomb", "large", "without pixels"],
)
def test_what_is_no_safe_picture_is_refused_in_one_line(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        picture_from(content, "from a stranger.png", 16)
    assert str(caught.value).startswith("from a stranger.png") and "\n" not in str(caught.value)


def test_too_large_a_file_is_named_with_its_size() -> None:
    """The browser holds it back and sends its size alone; bytes that come all the same are refused, too."""
    chosen = PictureFile()
    chosen.chosen = {"name": "huge.png", "size": 50 * 2**20, "number": 1}
    with pytest.raises(DataError, match=r"huge.png has 50.0 MB; a picture may have 8 MB"):
        chosen.image(16)
    chosen.content = bytes(MEGABYTES * 2**20 + 1)
    chosen.chosen = {"name": "liar.png", "size": 5, "number": 2}
    with pytest.raises(DataError, match=r"liar.png has 8.0 MB; a picture may have 8 MB"):
        chosen.image(16)


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    picture_from(file_of("JPEG"), "../../escape.jpg", 16)
    assert list(tmp_path.rglob("*")) == []
