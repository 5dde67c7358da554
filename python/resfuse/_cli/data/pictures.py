"""From a picture of any size and mode to the pixels that a network sees."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resfuse._cli.data.dataset import Pixels


def fitted(image: Image.Image, shape: tuple[int, int, int]) -> Pixels:
    """The largest part in the middle that has the form of ``shape``, resized to it."""
    height, width, channels = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(shape)


def scaled(images: Pixels) -> NDArray[np.float32]:
    """Values from 0 to 1, as networks get them in training and prediction alike."""
    return np.divide(images, 255, dtype=np.float32)
