"""Scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, installed with it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

CLASSES = 10


class Digits(NamedTuple):
    """Images ``(n, 8, 8, 1)`` with values from 0 to 1, and their labels."""

    train_images: NDArray[np.float32]
    test_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]


def load(seed: int) -> Digits:
    """Holds out a fifth of the digits, with every class in proportion."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[..., None]
    split = train_test_split(
        images, data.target, test_size=0.2, stratify=data.target, random_state=seed
    )
    return Digits(*split)
