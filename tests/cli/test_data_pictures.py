"""What becomes of a picture of any mode, size and orientation."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_files import pixels
from resfuse.cli.data.dataset import BadData
from resfuse.cli.data.pictures import fitted, is_grey, opened, scaled, upright

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def through_file(image: Image.Image, kind: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


def red(mode: str) -> Image.Image:
    return Image.new("RGB", (4, 4), RED).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_every_colour_mode_keeps_its_colour(mode: str) -> None:
    assert not is_grey(red(mode))
    seen = fitted(red(mode), (4, 4, 3)).astype(int)
    assert np.abs(seen - RED).max() <= 2


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("P", "GIF"), ("RGB", "WEBP")]
)
def test_colours_survive_the_file(mode: str, kind: str) -> None:
    with through_file(red(mode), kind) as image:
        assert np.abs(fitted(image, (4, 4, 3)).astype(int) - RED).max() <= 8


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_grey_mode_keeps_black_and_white(mode: str, channels: int) -> None:
    white = 65535 if mode.startswith("I") else 255
    image = Image.new("LA" if mode == "LA" else "L" if mode == "1" else mode, (4, 1))
    for column, value in enumerate((0, white, 0, white)):
        image.putpixel((column, 0), (value, 255) if mode == "LA" else value)
    image = image.convert(mode)
    assert is_grey(image)
    seen = fitted(image, (1, 4, channels))
    np.testing.assert_array_equal(seen[0, :, 0], [0, 255, 0, 255])
    assert seen.shape == (1, 4, channels)


@pytest.mark.parametrize(
    ("kind", "type_"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
)
def test_16_bits_are_scaled_and_not_clipped(kind: str, type_: str) -> None:
    values = np.array([[0, 256, 32768, 65535]], type_)
    with through_file(Image.fromarray(values), kind) as image:
        assert is_grey(image)
        np.testing.assert_array_equal(fitted(image, (1, 4, 1))[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_what_is_transparent_is_white(kind: str) -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    with through_file(image, kind, **options) as opened_image:
        assert fitted(opened_image, (1, 2, 3)).tolist() == [[list(RED), list(WHITE)]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_animated_pictures_the_first_is_seen(kind: str) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE))
    options = {"lossless": True} if kind == "WEBP" else {}
    with through_file(first, kind, save_all=True, append_images=[second], **options) as image:
        assert np.abs(fitted(image, (4, 4, 3)).astype(int) - RED).max() <= 2


def test_pictures_are_turned_upright() -> None:
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right makes it upright
    with through_file(image, "PNG", exif=exif) as turned:
        seen = fitted(turned, (16, 8, 3))
    np.testing.assert_array_equal(seen[[0, 15], 4], [RED, BLUE])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("note", [b"Exif\0\0no TIFF at all", b"Exif\0\0MM\0*\0\0\0\x08\0\x05"])
def test_broken_notes_beside_the_pixels_do_not_matter(kind: str, note: bytes) -> None:
    with through_file(Image.new("RGB", (8, 4), RED), kind, exif=note) as image:
        assert upright(image) == (4, 8)
        assert np.abs(fitted(image, (4, 8, 3)).astype(int) - RED).max() <= 8


def banded() -> NDArray[np.uint8]:
    """Red, a white square in the middle, blue."""
    image = np.full((20, 60, 3), 255, np.uint8)
    image[:, :20], image[:, 40:] = RED, BLUE
    return image


@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_of_a_long_picture_is_seen(turned: bool) -> None:
    image = banded().swapaxes(0, 1) if turned else banded()
    seen = fitted(Image.fromarray(image), (10, 10, 3))
    np.testing.assert_array_equal(seen[1:-1, 1:-1], np.full((8, 8, 3), 255))
    assert seen.min() > 230  # a resized edge takes a little from beyond


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    image = pixels(5, 7, 3)
    np.testing.assert_array_equal(fitted(Image.fromarray(image), (5, 7, 3)), image)


def test_a_large_photograph_is_reduced_without_aliasing() -> None:
    stripes = np.zeros((640, 640), np.uint8)
    stripes[:, ::2] = 255
    with through_file(Image.fromarray(stripes), "JPEG", quality=95) as image:
        seen = fitted(image, (32, 32, 1))
    assert np.abs(seen[4:-4, 4:-4].astype(int) - 127).max() < 5


def test_values_are_scaled_to_exactly_0_and_1() -> None:
    seen = scaled(np.arange(256, dtype=np.uint8))
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, (np.arange(256) / 255).astype(np.float32))


def truncated(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(40, 40, 3)).save(file, kind)
    return file.getvalue()[:-30]


def bomb() -> bytes:
    """A small PNG that says that it has 40000 x 40000 pixels."""
    header = b"IHDR" + (40000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    chunks = ((13, header), (0, b"IDAT"))
    parts = [size.to_bytes(4) + each + zlib.crc32(each).to_bytes(4) for size, each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        *((truncated(kind), "broken image") for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")),
        (b"BM" + bytes(60), "broken image"),
        (bomb(), "broken image: Image size (1600000000 pixels) exceeds limit"),
    ],
    ids=["empty", "text", "png", "jpeg", "gif", "webp", "bmp", "bitmap", "bomb"],
)
def test_what_cannot_be_read_is_named(content: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    file.write_bytes(content)
    with pytest.raises(BadData) as error, opened(file, "cat.png") as image:
        fitted(image, (4, 4, 3))
    assert str(error.value).startswith(f"cat.png: {why}")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadData, match=r"cat\.png: .*No such file"), opened(Path("no"), "cat.png"):
        pass


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cat.png")
    expected = pytest.raises(BadData, match=r"cat\.png: expected a file, found")
    with expected, opened(tmp_path / "cat.png", "cat.png"):
        pass


def test_pixels_without_a_white_are_refused() -> None:
    with (
        through_file(Image.new("F", (4, 4)), "TIFF") as image,
        pytest.raises(BadData, match="floating-point"),
    ):
        fitted(image, (4, 4, 1))
