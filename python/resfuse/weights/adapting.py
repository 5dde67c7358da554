"""Weights of other images, or of other classes."""

import math

import numpy as np

from resfuse.weights.errors import WeightsError

__all__ = ["adapt_stem", "new_head"]


def adapt_stem(kernel: np.ndarray, in_channels: int) -> np.ndarray:
    """A kernel ``(height, width, in, out)`` for images of ``in_channels``, as timm adapts it.

    One channel takes the sum of all. More than three take them in turn, times ``3 / in_channels``,
    so that equal channels give what they gave.

    Raises:
        WeightsError: For a kernel that does not take three channels.

    Example:
        >>> adapt_stem(np.ones((7, 7, 3, 64), np.float32), 6)[0, 0, :, 0].tolist()
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    channels = kernel.shape[-2]
    if channels != 3:
        raise WeightsError(f"in_channels must be the file's, which are {channels}, not 3")
    kernel = kernel.astype(np.float32)
    if in_channels == 1:
        return kernel.sum(-2, keepdims=True)
    repeated = np.tile(kernel, (1, 1, math.ceil(in_channels / channels), 1))[:, :, :in_channels]
    return repeated * np.float32(channels / in_channels)


def new_head(shape: tuple[int, ...], in_features: int, random: np.random.Generator) -> np.ndarray:
    """Initial values of a dense layer, torch's: uniform within ``in_features**-0.5``."""
    bound = in_features**-0.5
    return random.uniform(-bound, bound, shape).astype(np.float32)
