"""What every kind of data becomes."""

import dataclasses
import re
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadData(ValueError):  # noqa: N818
    """Data that cannot be used; the message is one printable line that names it and says why."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    r"""The text with its control characters, and bytes that are no UTF-8, written as ``\n`` is.

    Such bytes come from file names, as surrogates, which neither a terminal nor a file takes.
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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

    ``classes`` holds the names by label, printable, ``image_shape`` is ``(H, W, C)`` of every
    image.
    """

    train: Source
    test: Source
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
