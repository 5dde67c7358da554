"""Scikit-learn's handwritten digits as a dataset."""

from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from resfuse._cli.data.arrays import Arrays
from resfuse._cli.data.dataset import Dataset
from resfuse._cli.data.split import held_out_fifth

LEVELS = 16  # grey levels, white not counted


def load(size: int | None, seed: int) -> Dataset:
    """1797 images of 8 x 8 pixels, of which a fifth is held out."""
    data = load_digits()
    images = (data.images * 255 / LEVELS).round().astype("uint8")
    shape = (size, size, 1) if size else (8, 8, 1)
    train, test = (
        Arrays(images[chosen], data.target[chosen], shape)
        for chosen in held_out_fifth(data.target, seed)
    )
    return Dataset(train, test, tuple(map(str, range(10))), shape)
