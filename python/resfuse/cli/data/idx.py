"""The files of MNIST, of Fashion-MNIST, and of others in their format."""

import collections
import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfuse.cli.data.albums import default_size
from resfuse.cli.data.arrays import Arrays
from resfuse.cli.data.dataset import BadData, Dataset
from resfuse.cli.data.labels import Labels, check, check_all_there, held_out_fifth
from resfuse.cli.data.listing import is_data

TRAIN, TEST = "train", "t10k"
GZIP = b"\x1f\x8b"  # how compressed files begin, whatever they are called
BYTES = 8  # the type of the elements, in the third byte of a file


def there(folder: Path) -> bool:
    """Whether ``folder`` is one of IDX files."""
    return bool(_files(folder, "*[-.]idx?-ubyte*"))


def find(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and of labels, ``part-images-idx3-ubyte``, maybe with ``.gz``."""
    images = _files(folder, f"{part}-images?idx3-ubyte*")
    labels = _files(folder, f"{part}-labels?idx1-ubyte*")
    if not images and not labels:
        return None
    if not images or not labels:
        raise BadData(f"{(images + labels)[0]}: expected images and labels, found one of them")
    return images[0], labels[0]


def load(folder: Path, size: int | None, seed: int) -> Dataset:
    """The dataset of the files in ``folder``."""
    files = find(folder, TRAIN)
    if not files:
        raise BadData(f"{folder}: expected {TRAIN}-images-idx3-ubyte, found none")
    images, labels = _part(*files)
    classes = [str(label) for label in range(labels.max() + 1)]
    check_all_there(str(files[1]), labels, classes)
    shape = (*((size, size) if size else default_size(collections.Counter([images.shape[1:]]))), 1)
    held_out = find(folder, TEST)
    if held_out:
        test_images, test_labels = _part(*held_out)
        check(str(held_out[1]), test_labels, classes)
        parts = [(images, labels), (test_images, test_labels)]
    else:
        parts = [(images[each], labels[each]) for each in held_out_fifth(labels, classes, seed)]
    train, test = (Arrays(*part, shape) for part in parts)
    return Dataset(train, test, tuple(classes), shape)


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(each for each in folder.glob(pattern) if is_data(each.name) and each.is_file())


def _part(images_file: Path, labels_file: Path) -> tuple[NDArray[np.uint8], Labels]:
    images, labels = read(images_file, 3), read(labels_file, 1)
    if len(images) != len(labels):
        raise BadData(f"{labels_file}: {len(labels)} labels for {len(images)} images")
    if not images.size:
        raise BadData(f"{images_file}: no images")
    return images, labels.astype(np.int64)


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
