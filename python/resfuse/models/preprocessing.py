"""From a picture to what a network was trained on; Pillow is needed only for that step."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CENTRE", "IMAGENET", "Preprocessing"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

CENTRE = 0.5, 0.5, 0.5  # mean and deviation of pixels that go from -1 to 1
_MEAN = 0.485, 0.456, 0.406  # of ImageNet's pixels, between 0 and 1
_DEVIATION = 0.229, 0.224, 0.225
# By Pillow's numbers, which Hugging Face writes down.
_FILTERS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic")
_CAFFE_MEAN = 123.68 / 255, 116.779 / 255, 103.939 / 255


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input: resized, its centre cropped, its values normalized.

    A call gives what torchvision's, timm's or Keras' own pipeline gives: the same pixels, as all of
    them resize with Pillow, and ``(pixel / 255 - mean) / deviation``.

    Attributes:
        size: Height and width of the input, in pixels.
        resize: What the shorter side becomes before the crop.
        squash: Whether the longer side becomes as long as the shorter, whatever the picture's form.
        interpolation: Pillow's filter.
        mean: For each channel, of values between 0 and 1.
        deviation: For each channel.
        bgr: Whether the channels, in the input, are blue, green, red. ``mean`` and ``deviation``
            stay red first.

    Raises:
        ValueError: Where a size is not positive, or the crop larger than what is resized.

    Example:
        >>> Preprocessing(size=224, resize=232).resized((500, 375))
        (309, 232)
    """

    size: int = 224
    resize: int = 256
    squash: bool = False
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = _MEAN
    deviation: tuple[float, ...] = _DEVIATION
    bgr: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ValueError(
                f"size must be positive and at most resize, got {self.size} and {self.resize}"
            )

    @classmethod
    def from_timm(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """From timm's ``config.json``, or the ``pretrained_cfg`` in it.

        Raises:
            ValueError: For a way to crop other than ``"center"`` and ``"squash"``.
        """
        config = config.get("pretrained_cfg", config)
        size, mode = config["input_size"][-1], config.get("crop_mode") or "center"
        if mode not in ("center", "squash"):
            raise ValueError(f'crop_mode must be "center" or "squash", got {mode!r}')
        return cls(
            size,
            math.floor(size / config.get("crop_pct", 0.875)),
            mode == "squash",
            config.get("interpolation", "bicubic"),
            tuple(config.get("mean", _MEAN)),
            tuple(config.get("std", _DEVIATION)),
        )

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """From transformers' ``preprocessor_config.json``.

        The processors of ConvNeXt and ResNet resize to ``shortest_edge / crop_pct`` and crop, but
        squash from 384 pixels on; others give both sizes.
        """
        sides = [
            value if isinstance(value, int) else value.get("shortest_edge") or value["height"]
            for value in (config["size"], config.get("crop_size", config["size"]))
        ]
        if "crop_pct" in config:
            size, squash = sides[0], sides[0] >= 384
            resize = size if squash else int(size / config["crop_pct"])
        else:
            resize, size = sides
            given = config["size"]
            squash = "crop_size" not in config if isinstance(given, int) else "height" in given
        mean, deviation = (tuple(config.get(name, CENTRE)) for name in ("image_mean", "image_std"))
        interpolation = _FILTERS[config.get("resample", 2)]
        return cls(size, resize, squash, interpolation, mean, deviation)

    @classmethod
    def keras(cls, mode: Literal["caffe", "tf", "torch"], size: int = 224) -> "Preprocessing":
        """``keras.applications.imagenet_utils.preprocess_input`` after ``keras.utils.load_img``."""
        mean, deviation = {
            "caffe": (_CAFFE_MEAN, (1 / 255,) * 3),
            "tf": (CENTRE, CENTRE),
            "torch": (_MEAN, _DEVIATION),
        }[mode]
        return cls(size, size, True, "nearest", mean, deviation, bgr=mode == "caffe")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height after the resize of a picture of that width and height."""
        if self.squash:
            return self.resize, self.resize
        short, long = sorted(size)
        other = int(self.resize * long / short)  # torchvision rounds down
        return (self.resize, other) if size[0] == short else (other, self.resize)

    def __call__(self, image: "Image.Image") -> np.ndarray[Any, np.dtype[np.float32]]:
        """Maps a picture to ``(size, size, 3)`` in float32.

        Raises:
            ModuleNotFoundError: Without Pillow.
        """
        from PIL import Image

        filters = Image.Resampling[self.interpolation.upper()]
        image = image.convert("RGB")
        image = image.resize(self.resized(image.size), filters)
        left, top = (round((side - self.size) / 2) for side in image.size)
        image = image.crop((left, top, left + self.size, top + self.size))
        mean, deviation = (np.asarray(each, np.float32) for each in (self.mean, self.deviation))
        values = (np.asarray(image, np.float32) / np.float32(255) - mean) / deviation
        return values[..., ::-1] if self.bgr else values


IMAGENET = Preprocessing()
