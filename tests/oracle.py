"""What the kernel must compute, in float64 and few lines; exact on integers.

Images are NHWC, kernels HWIO.
"""

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)
# No register tile is higher, on any instruction set.
TILE = 12


def convolve(x, kernel, strides, padding, groups=1):
    """The convolution, one tap of the window at a time."""
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    height, width, per_group, features = kernel.shape
    rows, columns = (
        max(0, (size - window) // stride + 1)
        for size, window, stride in zip(x.shape[1:3], (height, width), strides, strict=True)
    )
    grouped = kernel.astype(np.float64).reshape(height, width, per_group, groups, -1)
    y = np.zeros((x.shape[0], rows, columns, groups, features // groups))
    for i, j in np.ndindex(height, width):
        pixels = x[:, i:, j:][:, :: strides[0], :: strides[1]][:, :rows, :columns]
        pixels = pixels.reshape(*y.shape[:4], per_group)
        y += np.einsum("byxgc,cgo->byxgo", pixels, grouped[i, j], optimize=True)
    return y.reshape(*y.shape[:3], features)


def affine(y, scale, shift, *residual, relu):
    """The epilogue on a convolution ``y``."""
    y = sum(residual, y * scale + shift)
    return np.maximum(y, 0.0) if relu else y


def statistics(y):
    """Mean and biased variance of each channel."""
    y = y.astype(np.float64).reshape(-1, y.shape[-1])
    return y.mean(0), y.var(0)


def statistics_tolerance(y):
    """How far from :func:`statistics` the kernel may be, whatever the data.

    Only sums over a tile's pixels are in float32. The mean of each is off by at most ``d``, which
    shifts the mean by as much, and the variance by ``2 * deviation * d + d**2``. Squares and their
    sum over a tile cost a relative ``(TILE + 2) * EPSILON / 2``. The sums of tiles, in doubles,
    are off by less than ``d**2`` up to thousands of tiles.
    """
    _, variance = statistics(y)
    d = TILE * EPSILON * np.abs(y.astype(np.float64)).max((0, 1, 2))
    return d, TILE * EPSILON * variance + 2 * np.sqrt(variance) * d + 2 * d**2
