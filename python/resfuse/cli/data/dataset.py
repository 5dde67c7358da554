"""What every kind of data becomes."""

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class BadData(ValueError):  # noqa: N818
    """Data that cannot be used; the message is one line that names it and says why."""


class Source(Protocol):
    """Images with their labels, in any order and from any thread, made when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        """An image, ``(H, W, C)``, and the number of its class.

        Raises:
            BadData: It cannot be read.
        """


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What to learn from, what to test with, and what the labels mean.

    ``classes`` holds the names by label, ``image_shape`` is ``(H, W, C)`` of every image.
    """

    train: Source
    test: Source
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
