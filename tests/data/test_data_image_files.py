"""Image files of every kind become the same RGB squares; broken ones are named in a line."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mvqlab.data import DataError, image_files
from mvqlab.data.image_files import check_image, read_square

COLOUR = (200, 100, 50)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def read(path: Path, resolution: int = 8) -> np.ndarray:
    """Checked and read, as (H, W, 3)."""
    check_image(path, 64.0)
    return read_square(path, resolution, 64.0).transpose(1, 2, 0)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_rgb_is_cropped_at_the_centre_and_left_alone_at_its_own_size(tmp_path: Path) -> None:
    """Guards the crop's offsets and x against y: 13 x 7 pixels hold one 7 x 7 square in the middle."""
    image = noise(13, 7)
    expected = np.asarray(image)[:, 3:10]
    np.testing.assert_array_equal(read(saved(image, tmp_path / "a.png"), 7), expected)
    upright = image.transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(read(saved(upright, tmp_path / "b.png"), 7), np.asarray(upright)[3:10])


def test_shrinking_averages_instead_of_skipping_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = read(saved(Image.fromarray(stripes), tmp_path / "stripes.png"), 8)
    assert np.abs(pixels.astype(int) - 128).max() < 12


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "webp", "ppm", "jp2", "jpg", "JPEG"])
def test_every_format_gives_the_same_colour(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(Image.new("RGB", (30, 20), COLOUR), tmp_path / f"plain.{suffix}", **options)
    assert np.abs(read(path).astype(int) - COLOUR).max() <= 2


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (20, 20), (255, 255, 255)).convert(mode)
    path = saved(image, tmp_path / ("x.jpg" if mode == "CMYK" else "x.png"))
    pixels = read(path)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert pixels.min() >= 253


def test_cmyk_colours_are_not_inverted(tmp_path: Path) -> None:
    pixels = read(saved(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), tmp_path / "red.jpg"))
    assert pixels[..., 0].min() > 200 and pixels[..., 1:].max() < 60


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    """Guards against the black (or worse, arbitrary) colour that hides under transparent pixels."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((*COLOUR, 255), (0, 0, 4, 8))
    image.putpixel((7, 7), (0, 0, 0, 127))
    pixels = read(saved(image, tmp_path / "logo.png"))
    np.testing.assert_array_equal(pixels[3, 2], COLOUR)
    np.testing.assert_array_equal(pixels[3, 6], [255, 255, 255])
    assert abs(int(pixels[7, 7, 0]) - 128) <= 1


def test_a_palette_with_a_transparent_entry_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, *COLOUR])
    image.paste(0, (4, 0, 8, 8))
    pixels = read(saved(image, tmp_path / "icon.png", transparency=0))
    np.testing.assert_array_equal(pixels[4, 1], COLOUR)
    np.testing.assert_array_equal(pixels[4, 6], [255, 255, 255])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_greys_keep_their_shades(tmp_path: Path, suffix: str) -> None:
    """Guards against a plain conversion, which cuts everything above 255 to white."""
    greys = np.repeat(np.array([0, 16384, 32768, 65535], np.uint16), 2)[None].repeat(8, 0)
    pixels = read(saved(Image.fromarray(greys), tmp_path / f"scan.{suffix}"))
    np.testing.assert_allclose(pixels[4, ::2, 1], [0, 64, 128, 255], atol=1)


@pytest.mark.parametrize("top", [200, 255, 65535, 10**6, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("is_turned", [False, True])
def test_32_bit_greys_are_neither_black_nor_white(tmp_path: Path, top: int, is_turned: bool) -> None:
    """Guards against taking all integers to run to 65535, and unsigned ones to have a sign."""
    shades = np.array([0.0, 0.25, 0.5, 1.0])
    greys = np.repeat((shades * top).round(), 2)[None].repeat(8, 0)
    is_signed = top < 2**31
    path = tiff(tmp_path / "counts.tif", greys.astype(np.int32 if is_signed else np.uint32), is_turned)
    pixels = read(path)[::-1, ::-1] if is_turned else read(path)
    white = 200 if top == 200 else 255
    np.testing.assert_allclose(pixels[4, ::2, 0], shades * white, atol=1)


def tiff(path: Path, greys: np.ndarray, is_turned: bool) -> Path:
    """A TIFF file of one strip of integer greys, upside down by its mark if `is_turned`."""
    h, w = greys.shape
    kind = 1 if greys.dtype == np.uint32 else 2
    tags = {
        256: w,
        257: h,
        258: 8 * greys.itemsize,
        259: 1,
        262: 1,
        273: 200,
        274: 3 if is_turned else 1,
        277: 1,
        278: h,
    }
    tags |= {279: greys.nbytes, 339: kind}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + rows + bytes(4)
    path.write_bytes(head.ljust(200, b"\0") + greys.tobytes())
    return path


def test_a_dark_scan_of_16_bits_stays_dark(tmp_path: Path) -> None:
    """Pillow has one mode for these and for 32 bits."""
    (tmp_path / "dark.pgm").write_bytes(b"P5 8 8 65535\n" + np.full((8, 8), 200, ">u2").tobytes())
    assert read(tmp_path / "dark.pgm").max() <= 1
    assert read(tiff(tmp_path / "dark.tif", np.full((8, 8), 200, np.int16), False)).max() <= 1


@pytest.mark.parametrize("top", [1.0, 1.1, 255.0, 300.0, 65535.0, 1e7])
def test_floating_point_greys_run_to_one_to_255_or_to_65535(tmp_path: Path, top: float) -> None:
    greys = np.repeat(np.array([0.0, 0.25, 0.5, 1.0], np.float32) * top, 2)[None].repeat(8, 0)
    pixels = read(saved(Image.fromarray(greys), tmp_path / "depth.tif"))
    over = {1.1: 1.1, 300.0: 300.0 / 255.0}.get(top, 1.0)  # a little more than white is white
    expected = np.minimum(np.array([0.0, 0.25, 0.5, 1.0]) * over * 255.0, 255.0)
    np.testing.assert_allclose(pixels[4, ::2, 0], expected, atol=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_is_an_error_that_names_the_file(tmp_path: Path, value: float) -> None:
    """It was read as black, or as white."""
    greys = np.full((8, 8), 0.5, np.float32)
    greys[2, 3] = value
    with pytest.raises(DataError, match=r"depth\.tif.*1 of 64 pixels"):
        read(saved(Image.fromarray(greys), tmp_path / "depth.tif"))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_camera_s_rotation_mark_is_obeyed(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGB", (16, 16), "black")
    image.paste("white", (0, 0, 16, 4))  # the upper edge, as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the upper edge becomes the right one
    pixels = read(saved(image, tmp_path / f"phone.{suffix}", exif=exif))
    assert pixels[4, 7].min() > 200 and pixels[4, 0].max() < 60 and pixels[0, 3].max() < 60


def test_a_damaged_rotation_mark_costs_nothing(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (9, 9), COLOUR), tmp_path / "odd.png", exif=b"Exif\x00\x00II*\x00garbage")
    np.testing.assert_array_equal(read(path)[3, 3], COLOUR)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_and_thin_images_are_blown_up(tmp_path: Path, size: tuple[int, int]) -> None:
    for suffix in ("png", "jpg"):
        pixels = read(saved(Image.new("RGB", size, COLOUR), tmp_path / f"tiny.{suffix}"), 32)
        assert pixels.shape == (32, 32, 3) and np.abs(pixels.astype(int) - COLOUR).max() <= 3


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in (COLOUR, "blue", "green")]
    path = saved(frames[0], tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert np.abs(read(path)[2, 2].astype(int) - COLOUR).max() <= 2


def test_large_jpegs_are_decoded_small_but_alike(tmp_path: Path) -> None:
    """Guards the shortcut: 1/4-size decoding must look like decoding all and shrinking."""
    rows, columns = np.mgrid[:320, :320] / 40.0
    waves = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)
    image = Image.fromarray((127.5 + 120 * waves).astype(np.uint8))
    path = saved(image, tmp_path / "large.jpg", quality=95)
    whole = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(read(path, 32) - whole).mean() < 2.0


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "bmp"])
@pytest.mark.parametrize("kept", [0.97, 0.5, 0.02])
def test_truncation_is_found_by_the_check(tmp_path: Path, suffix: str, kept: float) -> None:
    """Guards the cheap check: what it lets through must be readable to the last pixel."""
    path = saved(noise(80, 80), tmp_path / f"cut.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: (cannot be read|is not an image)") as caught:
        check_image(path, 64.0)
    assert "\n" not in str(caught.value)


def test_a_progressive_jpeg_cut_short_is_found(tmp_path: Path) -> None:
    path = saved(noise(160, 160), tmp_path / "cut.jpg", progressive=True)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="truncated"):
        check_image(path, 64.0)


def test_a_flipped_bit_in_a_png_is_found(tmp_path: Path) -> None:
    path = saved(noise(40, 40), tmp_path / "bit.png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bit\.png: cannot be read"):
        check_image(path, 64.0)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    """The last one would start an outside program, were Pillow asked without a list of formats."""
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"letter\.png: (is not an image that Pillow can read|cannot be read)"
    ):
        check_image(path, 64.0)


SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
ROWS = (b"\0" + bytes(24)) * 8
BOMB = zlib.compress(bytes(20 * 2**20))  # 20 KB that stand for 20 MB


PASSES = ((1, 1), (1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (5, 2))


def png(*chunks: tuple[bytes, bytes], header: tuple[bytes, bytes] = HEADER) -> bytes:
    """A PNG file whose every check sum is right."""
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (header, *chunks, (b"IEND", b""))
    ]
    return SIGNATURE + b"".join(packed)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [(b"IDAT", b"")],
        [(b"IDAT", zlib.compress(ROWS[: 25 * 5]))],
        [(b"IDAT", zlib.compress(b"\x09" + ROWS[1:]))],
        [(b"zTXt", b"note\0\0" + BOMB), (b"IDAT", zlib.compress(ROWS))],
        [(b"IDAT", zlib.compress(ROWS)), (b"zTXt", b"note\0\0" + BOMB)],
        [(b"IDAT", zlib.compress(ROWS)), (b"iTXt", b"note\0\1\0\0\0" + BOMB)],
    ],
    ids=[
        "no pixels",
        "empty pixels",
        "five rows of eight",
        "bad filter",
        "zTXt",
        "zTXt behind",
        "iTXt behind",
    ],
)
def test_a_png_with_right_check_sums_is_decoded_before_it_is_trusted(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]]
) -> None:
    """Guards against check sums for a check: such files stopped a training half-way."""
    path = tmp_path / "odd.png"
    path.write_bytes(png(*chunks))
    with pytest.raises(DataError, match=r"odd\.png: (cannot be read|is not an image)"):
        check_image(path, 64.0)


def test_the_png_of_these_tests_is_sound_but_for_what_is_spoiled(tmp_path: Path) -> None:
    path = tmp_path / "even.png"
    path.write_bytes(png((b"IDAT", zlib.compress(ROWS))))
    assert read(path).max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 17), (300, 5)])
def test_sound_pngs_of_every_kind_have_all_their_rows(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    path = saved(Image.new(mode, size), tmp_path / "sound.png")
    check_image(path, 64.0)


@pytest.mark.parametrize("n_missing", [0, 1])
def test_the_rows_of_an_interlaced_png_are_counted_pass_by_pass(tmp_path: Path, n_missing: int) -> None:
    """5 x 5 greys in seven passes: 1 x 1, 1 x 1, 2 x 1, 1 x 2, 3 x 1, 2 x 3 and 5 x 2 columns and rows."""
    content = bytes(sum(rows * (1 + columns) for columns, rows in PASSES) - n_missing)
    path = tmp_path / "woven.png"
    header = (b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 0, 0, 0, 1))
    path.write_bytes(png((b"IDAT", zlib.compress(content)), header=header))
    if n_missing:
        with pytest.raises(DataError, match=r"woven\.png: cannot be read"):
            check_image(path, 64.0)
    else:
        check_image(path, 64.0)


def test_a_picture_of_nothing_but_nan_is_named(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), tmp_path / "empty.tif")
    with pytest.raises(DataError, match=r"empty\.tif.*64 of 64 pixels are NaN"):
        check_image(path, 64.0)


@pytest.mark.parametrize("use", [check_image, lambda path, limit: read_square(path, 8, limit)])
def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path, use: Callable[[Path, float], object]) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: is not a regular file"):
        use(tmp_path / "x.png", 64.0)


def test_a_pipe_that_takes_a_file_s_place_just_now_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "x.png")
    monkeypatch.setattr(image_files.stat, "S_ISREG", lambda mode: True)
    with pytest.raises(DataError, match=r"x\.png"):
        check_image(tmp_path / "x.png", 64.0)


@pytest.mark.parametrize("name", ["phone.heic", "phone.jpg", "phone.HEIF"])
def test_a_telephone_s_picture_is_named_by_its_kind(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(DataError, match=rf"{name}: HEI[CF] images are not read: convert it"):
        check_image(path, 64.0)


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_square(tmp_path / "gone.png", 8, 64.0)
    assert str(caught.value) == f"{tmp_path / 'gone.png'}: cannot be read (No such file or directory)"


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG file of a few bytes that claims to hold width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png", 9000, 8000)
    for use in (lambda: check_image(path, 64.0), lambda: read_square(path, 8, 64.0)):
        with pytest.raises(DataError) as caught:
            use()
        assert str(caught.value) == (
            f"{path}: 9000 x 8000 pixels are 72.0 megapixels, more than data.max_megapixels (64)"
        )


def test_a_monstrous_bomb_is_refused_by_pillow_and_named(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png", 60000, 60000)
    with pytest.raises(DataError, match=r"bomb\.png: has more pixels than Pillow ever decodes"):
        check_image(path, 1e6)


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    path = saved(noise(100, 50), tmp_path / "fits.png")
    check_image(path, 0.005)
    with pytest.raises(DataError, match=r"0\.0 megapixels, more than data\.max_megapixels \(0\.0049\)"):
        check_image(path, 0.0049)


def test_text_within_a_png_is_no_reason_to_refuse(tmp_path: Path) -> None:
    notes = PngInfo()
    notes.add_text("comment", "drawn by hand", zip=True)
    np.testing.assert_array_equal(
        read(saved(Image.new("RGB", (9, 9), COLOUR), tmp_path / "noted.png", pnginfo=notes))[4, 4], COLOUR
    )


def test_files_are_closed(tmp_path: Path) -> None:
    """Guards against a leak of file handles, which shows as ResourceWarning: an error under pytest."""
    path = saved(noise(9, 9), tmp_path / "a.jpg")
    path_of_junk = tmp_path / "junk.jpg"
    path_of_junk.write_bytes(io.BytesIO(path.read_bytes()[:150]).read())
    for _ in range(300):
        read(path)
        with pytest.raises(DataError):
            check_image(path_of_junk, 64.0)
    open_files = [
        entry
        for entry in Path("/proc/self/fd").glob("*")
        if entry.exists() and tmp_path in entry.resolve().parents
    ]
    assert open_files == []
