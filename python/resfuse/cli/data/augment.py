"""Random changes that leave the class of an image as it is."""

import numpy as np

from resfuse.cli.data.dataset import Pixels

SHIFT = 8  # images move by up to an eighth of their edges


def augmented(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Shifts the image ``(H, W, C)`` at random; mirrors one in colour half of the time.

    Grey images are not mirrored: they are characters more often than not, and of the mirrored
    image of a 3 nobody should learn that it is one.
    """
    height, width, channels = image.shape
    rows, columns = height // SHIFT, width // SHIFT
    padded = np.pad(image, ((rows, rows), (columns, columns), (0, 0)))
    top, left = rng.integers(2 * rows + 1), rng.integers(2 * columns + 1)
    cropped = padded[top : top + height, left : left + width]
    return cropped[:, ::-1] if channels > 1 and rng.random() < 0.5 else cropped
