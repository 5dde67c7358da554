"""From a picture of any size and mode to the pixels that a network sees."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from resfuse.cli.data.dataset import BadData, Pixels

# Pillow warns of broken notes beside the pixels, which do not matter here.
warnings.filterwarnings("ignore", module=r"PIL\.")

UPRIGHT, QUARTER_TURNS = 1, (5, 6, 7, 8)  # values of EXIF's orientation
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}


@contextlib.contextmanager
def opened(file: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """The picture, of which only the header has been read.

    Raises:
        BadData: It cannot be read, here or in the ``with`` block; the message begins with ``name``.
    """
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise BadData("expected a file, found a folder, a pipe or a device")
        with Image.open(file) as image:
            yield image
    except BadData as error:
        raise BadData(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise BadData(f"{name}: not an image in any format that Pillow reads") from None
    except Exception as error:  # broken files make Pillow raise whatever its decoders stumble over
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadData(f"{name}: broken image: {reason.splitlines()[0]}") from error


def fitted(image: Image.Image, shape: tuple[int, int, int]) -> Pixels:
    """The largest part in the middle that has the form of ``shape``, resized to it.

    Pictures are turned upright as their camera noted, and what is transparent becomes white.
    """
    height, width, channels = shape
    image.draft(None, (2 * max(height, width),) * 2)  # a large JPEG need not be decoded whole
    image = plain(image, "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(shape)


def plain(image: Image.Image, mode: str) -> Image.Image:
    """The whole picture, upright, on white, in mode ``"L"`` or ``"RGB"``."""
    image.load()
    if _orientation(image) != UPRIGHT:
        image = ImageOps.exif_transpose(image)
    return _opaque(image).convert(mode)


def upright(image: Image.Image) -> tuple[int, int]:
    """Its ``(height, width)`` when turned as its camera noted; the header says it."""
    # Of a TIFF file, Pillow already says the upright size.
    turned = image.format != "TIFF" and _orientation(image) in QUARTER_TURNS
    return image.size if turned else (image.height, image.width)


def is_grey(image: Image.Image) -> bool:
    """Whether its mode has no colour; the header says it."""
    return image.mode in GREY


def scaled(images: Pixels) -> NDArray[np.float32]:
    """Values from 0 to 1, as networks get them in training and prediction alike."""
    return np.divide(images, 255, dtype=np.float32)


def _orientation(image: Image.Image) -> int:
    try:  # the method of PNG itself would decode the pixels
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # whatever a broken note makes Pillow raise
        return UPRIGHT


def _opaque(image: Image.Image) -> Image.Image:
    """The image in a mode that Pillow converts to grey or RGB without loss of meaning."""
    if image.mode == "F":
        raise BadData("floating-point pixels, and nothing says which value is white")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip and not scale
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
