"""What EfficientNets' pictures go through, in the libraries that have the original weights."""

import dataclasses

from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.preprocessing import Preprocessing
from resfuse.weights.scheme import Arrays

__all__ = ["efficientnet_pytorch", "size_of"]

_SIZES = {"EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300}
_SIZES |= {"EfficientNetB4": 380}  # pixels; of all others 224


def size_of(name: str) -> int:
    """Height and width of a network's images in its authors' code."""
    return _SIZES.get(name, 224)


def efficientnet_pytorch(name: str, _: Arrays) -> Preprocessing:
    """As in its ``examples/imagenet``; Lite networks as in TensorFlow's ``efficientnet/lite``.

    These have pixels from 0 to 255 go to ``(pixel - 127) / 128``.
    """
    if "Lite" in name:
        lite = MOBILENETS[name].preprocessing
        return dataclasses.replace(lite, mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)
    size = size_of(name)
    return Preprocessing(size, size, interpolation="bicubic")
