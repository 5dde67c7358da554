"""Pictures that are decoded when they are asked for: of folders and of Hugging Face alike."""

import collections
import contextlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resfuse.cli.data.dataset import Dataset, Pixels, printable
from resfuse.cli.data.labels import Labels, held_out_fifth
from resfuse.cli.data.pictures import fitted, is_grey, upright

LARGE = 224  # larger pictures are photographs, and become squares of this edge


class Album(Protocol):
    """Pictures with labels."""

    labels: Labels

    def open(self, index: int) -> contextlib.AbstractContextManager[Image.Image]:
        """As ``pictures.opened``."""


class Pictures:
    """A source: the chosen pictures of an album, brought to ``shape``."""

    def __init__(
        self, album: Album, chosen: NDArray[np.int64], shape: tuple[int, int, int]
    ) -> None:
        self._album, self._chosen, self._shape = album, chosen, shape

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        chosen = int(self._chosen[index])
        with self._album.open(chosen) as image:
            return fitted(image, self._shape), int(self._album.labels[chosen])


def dataset(
    albums: Sequence[Album], classes: Sequence[str], size: int | None, seed: int
) -> Dataset:
    """The dataset of an album to train with and one to test with, or of one that is divided."""
    shape = _shape(albums, size)
    if len(albums) == 2:
        parts = [(album, np.arange(len(album.labels))) for album in albums]
    else:
        parts = [(albums[0], chosen) for chosen in held_out_fifth(albums[0].labels, classes, seed)]
    train, test = (Pictures(album, chosen, shape) for album, chosen in parts)
    return Dataset(train, test, tuple(map(printable, classes)), shape)


def default_size(sizes: collections.Counter[tuple[int, int]]) -> tuple[int, int]:
    """The commonest ``(height, width)``, or the square for photographs."""
    (common, _), *_ = sizes.most_common(1)
    return common if min(common) <= LARGE else (LARGE, LARGE)


def _shape(albums: Sequence[Album], size: int | None) -> tuple[int, int, int]:
    """Reads every header, so that files that are no pictures are found before the training."""
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    grey = True
    for album in albums:
        for index in range(len(album.labels)):
            with album.open(index) as image:
                sizes[upright(image)] += 1
                grey = grey and is_grey(image)
    height, width = (size, size) if size else default_size(sizes)
    return height, width, 1 if grey else 3
