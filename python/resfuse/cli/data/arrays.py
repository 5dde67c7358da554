"""Images that are in memory, among them scikit-learn's handwritten digits."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from resfuse.cli.data.dataset import Dataset, Pixels
from resfuse.cli.data.labels import Labels, held_out_fifth
from resfuse.cli.data.pictures import fitted

LEVELS = 16  # of grey above black in the digits


class Arrays:
    """A source of grey images ``(n, H, W)``, brought to ``shape`` when they are asked for."""

    def __init__(self, images: Pixels, labels: Labels, shape: tuple[int, int, int]) -> None:
        self._images, self._labels, self._shape = images, labels, shape

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        image, label = self._images[index], int(self._labels[index])
        if image.shape == self._shape[:2]:
            return image[..., None], label
        return fitted(Image.fromarray(image), self._shape), label


def digits(size: int | None, seed: int) -> Dataset:
    """1797 images of 8 x 8 pixels, of which a fifth is held out."""
    data = load_digits()
    images = (data.images * (255 / LEVELS)).round().astype(np.uint8)
    classes = tuple(map(str, data.target_names))
    shape = (size, size, 1) if size else (*images.shape[1:], 1)
    parts = held_out_fifth(data.target, classes, seed)
    train, test = (Arrays(images[part], data.target[part], shape) for part in parts)
    return Dataset(train, test, classes, shape)
