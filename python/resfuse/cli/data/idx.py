"""The files of MNIST, of Fashion-MNIST, and of others in their format."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfuse.cli.data.albums import Album, dataset, in_memory
from resfuse.cli.data.dataset import BadData, Dataset
from resfuse.cli.data.listing import is_data

TRAIN, TEST = "train", "t10k"
GZIP = b"\x1f\x8b"  # how compressed files begin, whatever they are called
BYTES = 8  # the type of the elements, in the third byte of a file


def there(folder: Path) -> bool:
    """Whether ``folder`` is one of IDX files."""
    return bool(_files(folder, "*[-.]idx?-ubyte*"))


def load(folder: Path, size: int | None, seed: int) -> Dataset:
    """The dataset of the files in ``folder``."""
    train, test = _album(folder, TRAIN), _album(folder, TEST)
    if not train:
        raise BadData(f"{folder}: expected {TRAIN}-images-idx3-ubyte, found none")
    classes = [str(label) for label in range(train.labels.max() + 1)]
    return dataset([train, test] if test else [train], classes, size, seed)


def _album(folder: Path, part: str) -> Album | None:
    """What is in ``part-images-idx3-ubyte`` and the labels for it, maybe with ``.gz``."""
    images_files = _files(folder, f"{part}-images?idx3-ubyte*")
    labels_files = _files(folder, f"{part}-labels?idx1-ubyte*")
    files = images_files[:1] + labels_files[:1]
    if not files:
        return None
    if len(files) == 1:
        raise BadData(f"{files[0]}: expected images and labels, found one of them")
    images, labels = read(files[0], 3), read(files[1], 1)
    if len(images) != len(labels):
        raise BadData(f"{files[1]}: {len(labels)} labels for {len(images)} images")
    if not images.size:
        raise BadData(f"{files[0]}: no images")
    return in_memory(str(files[1]), images, labels.astype(np.int64))


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(each for each in folder.glob(pattern) if is_data(each.name) and each.is_file())


def read(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file: two zeros, its type, its number of dimensions, then their sizes."""
    try:
        content = file.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadData(f"{file}: broken gzip file: {error}") from error
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, BYTES, dimensions]) or len(content) < start:
        raise BadData(
            f"{file}: not an IDX file of bytes in {dimensions} dimensions: it begins with "
            f"{content[:4].hex(' ') or 'nothing'}, expected 00 00 08 {dimensions:02}"
        )
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) != start + math.prod(shape):
        found = len(content) - start
        raise BadData(f"{file}: expected {math.prod(shape)} bytes for {shape}, found {found}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
