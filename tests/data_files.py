"""Small files of every kind that `resfuse train` reads, and what refuses them."""

import gzip
import io
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image

from resfuse.cli import data
from resfuse.cli.data.dataset import printable


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random ones."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write_idx(file: Path, array: NDArray[np.uint8]) -> None:
    """Writes the array as MNIST is, compressed if the file's name says so."""
    sizes = np.array(array.shape, ">u4").tobytes()
    content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_mnist(
    folder: Path,
    *,
    train: int = 40,
    test: int = 20,
    classes: int = 10,
    suffix: str = "",
    size: int = 28,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Writes so many images of ``size`` a side, whose classes take turns; gives them back."""
    folder.mkdir(parents=True, exist_ok=True)
    images = pixels(train, size, size, seed=1), pixels(test, size, size, seed=2)
    for part, each in zip(("train", "t10k"), images, strict=True):
        labels = (np.arange(len(each)) % classes).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", each)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return images


def write_picture(file: Path, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> None:
    """Writes a picture of this mode, width and height, which its name and folder decide."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(os.fsencode(f"{file.parent.name}/{file.name}"))
    colours = Image.fromarray(pixels(size[1], size[0], 3, seed=seed))
    colours.convert(mode).save(file)


def write_classes(
    folder: Path, images: int = 5, classes: Iterable[str] = "ab", mode: str = "RGB"
) -> None:
    """Writes a folder with so many pictures for each class."""
    for name in classes:
        for number in range(images):
            write_picture(folder / name / f"{number}.png", mode)


def png(image: NDArray[np.uint8]) -> bytes:
    """The file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_parquet(file: Path, labels: list[object], **columns: str) -> NDArray[np.uint8]:
    """Writes one random image in colour for each label, as Hugging Face does; gives them back.

    ``columns`` are other names for the columns ``image`` and ``label``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    images = pixels(len(labels), 8, 8, 3, seed=len(file.name))
    cells = [{"bytes": png(image), "path": None} for image in images]
    names = [columns.get(name, name) for name in ("image", "label")]
    pq.write_table(pa.table(dict(zip(names, (cells, labels), strict=True))), file)
    return images


def contents(source: data.Source) -> tuple[NDArray[np.uint8], list[int]]:
    """All images and labels."""
    pairs = [source[index] for index in range(len(source))]
    return np.stack([image for image, _ in pairs]), [label for _, label in pairs]


def assert_load_refused(path: object, capsys: pytest.CaptureFixture[str], *why: str) -> None:
    """Loading ends with code 2 and one line, which names the data and says why."""
    with pytest.raises(typer.Exit) as refusal:
        data.load(str(path), size=None, seed=0)
    assert refusal.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for text in (printable(f"--data {path}: "), *why):
        assert text in line
