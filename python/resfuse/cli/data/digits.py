"""Scikit-learn's handwritten digits as a dataset."""

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from resfuse.cli.data.arrays import Arrays
from resfuse.cli.data.dataset import Dataset
from resfuse.cli.data.labels import held_out_fifth

LEVELS = 16  # of grey above black


def load(size: int | None, seed: int) -> Dataset:
    """1797 images of 8 x 8 pixels, of which a fifth is held out."""
    data = load_digits()
    images = (data.images * (255 / LEVELS)).round().astype(np.uint8)
    shape = (size, size, 1) if size else (*images.shape[1:], 1)
    parts = held_out_fifth(data.target, seed)
    train, test = (Arrays(images[part], data.target[part], shape) for part in parts)
    return Dataset(train, test, tuple(map(str, data.target_names)), shape)
