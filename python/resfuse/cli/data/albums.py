"""Pictures with labels that are decoded when they are asked for, whatever holds them."""

import collections
import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resfuse.cli.data.dataset import BadData, Dataset, Pixels, printable
from resfuse.cli.data.pictures import fitted, is_grey, upright

LARGE = 224  # larger pictures are photographs, and become squares of this edge

Labels = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Album:
    """Pictures with labels; ``open`` is as ``pictures.opened``, errors in labels say ``name``."""

    name: str
    labels: Labels
    open: Callable[[int], contextlib.AbstractContextManager[Image.Image]]


class Pictures:
    """A source: the chosen pictures of an album, brought to ``shape``."""

    def __init__(self, album: Album, chosen: Labels, shape: tuple[int, int, int]) -> None:
        self._album, self._chosen, self._shape = album, chosen, shape

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        chosen = int(self._chosen[index])
        with self._album.open(chosen) as image:
            return fitted(image, self._shape), int(self._album.labels[chosen])


def in_memory(name: str, images: Pixels, labels: Labels) -> Album:
    """The album of grey images ``(n, H, W)``."""
    return Album(name, labels, lambda index: contextlib.nullcontext(Image.fromarray(images[index])))


def dataset(
    albums: Sequence[Album], classes: Sequence[str], size: int | None, seed: int
) -> Dataset:
    """The dataset of an album to train with and one to test with, or of one that is divided.

    Raises:
        BadData: A label names no class, a class has no images, there is only one class, a file
            is no picture, or a class of a single image would have to be divided.
    """
    for album in albums:
        _check(album, classes)
    _check_all_there(albums[0], classes)
    shape = _shape(albums, size)
    parts = [(album, np.arange(len(album.labels))) for album in albums]
    if len(albums) == 1:
        parts = [(albums[0], part) for part in _held_out_fifth(albums[0].labels, classes, seed)]
    train, test = (Pictures(album, chosen, shape) for album, chosen in parts)
    return Dataset(train, test, tuple(map(printable, classes)), shape)


def _check(album: Album, classes: Sequence[str]) -> None:
    wrong = np.flatnonzero((album.labels < 0) | (album.labels >= len(classes)))
    if wrong.size:
        label, last = album.labels[wrong[0]], len(classes) - 1
        raise BadData(f"{album.name}: label {label} of image {wrong[0]} is outside 0..{last}")


def _check_all_there(album: Album, classes: Sequence[str]) -> None:
    for missing in sorted(set(range(len(classes))) - set(album.labels.tolist())):
        raise BadData(f"{album.name}: no images of class {classes[missing]!r}")
    if len(classes) < 2:
        raise BadData(f"{album.name}: expected at least two classes, found {len(classes)}")


def _shape(albums: Sequence[Album], size: int | None) -> tuple[int, int, int]:
    """The commonest size, or the square for photographs, and whether all is grey.

    Reads every header, so that files that are no pictures are found before the training.
    """
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    grey = True
    for album in albums:
        for index in range(len(album.labels)):
            with album.open(index) as image:
                sizes[upright(image)] += 1
                grey = grey and is_grey(image)
    (common, _), *_ = sizes.most_common(1)
    square = size or (LARGE if min(common) > LARGE else None)
    height, width = (square, square) if square else common
    return height, width, 1 if grey else 3


def _held_out_fifth(labels: Labels, classes: Sequence[str], seed: int) -> tuple[Labels, Labels]:
    """Indices to train and to test with, every class in proportion."""
    for name, count in zip(classes, np.bincount(labels), strict=True):
        if count < 2:
            raise BadData(
                f"there are no test images, and of class {name!r} a single image, of which none "
                "can be held out: expected at least two"
            )
    # Takes longer to import than all the rest, and most data have test images.
    from sklearn.model_selection import train_test_split

    test_size = max(math.ceil(len(labels) / 5), len(classes))
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=seed
    )
    return train, test
