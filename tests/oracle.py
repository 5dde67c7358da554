"""What the kernel must compute, in float64 and few lines; exact on integers.

Images are NHWC, kernels HWIO.
"""

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)
# No register tile is higher, on any instruction set.
TILE = 12
# Largest error in units of the largest output: what oneDNN's tests allow its own Winograd.
WINOGRAD_TOLERANCE = 2e-5
# Of a product on its way through both sides of the three transforms, up to 4 operations and a
# constant of one rounding each; and of the epilogue.
WINOGRAD_ROUNDINGS = 3 * 2 * 5 + 3


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

    Totals are in doubles: the mean is rounded once, to float32. In float32 are the deviations from
    a tile's mean, their squares and the sums of a tile's squares, which cost a relative
    ``(TILE + 3) * EPSILON / 2``; and the tile's mean, whose rounding ``d`` adds ``d**2``.
    """
    mean, variance = statistics(y)
    d = EPSILON * np.abs(y.astype(np.float64)).max((0, 1, 2))
    return EPSILON * np.abs(mean) + 1e-12 * d, TILE * EPSILON * variance + d**2


def winograd_magnitude(x, kernel, padding, output):
    """What F(4x4, 3x3) or F(2x2, 3x3) sums for each output, all of it counted as positive.

    The matrices are those of Lavin & Gray 2015, sections 4.3 and 4.1; ``output`` is 4 or 2.
    """
    inputs, weights, outputs = map(np.abs, WINOGRAD[output])
    x = np.pad(np.abs(x.astype(np.float64)), ((0, 0), *padding, (0, 0)))
    size = [n - 2 for n in x.shape[1:3]]
    x = np.pad(x, ((0, 0), *((0, -n % output) for n in size), (0, 0)))
    tiles = np.lib.stride_tricks.sliding_window_view(x, (output + 2,) * 2, (1, 2))
    tiles = tiles[:, ::output, ::output]
    v = np.einsum("pi,qj,byxcij->byxpqc", inputs, inputs, tiles, optimize=True)
    u = np.einsum("pi,qj,ijco->pqco", weights, weights, np.abs(kernel), optimize=True)
    m = np.einsum("byxpqc,pqco->byxpqo", v, u, optimize=True)
    y = np.einsum("ip,jq,byxpqo->byixjo", outputs, outputs, m, optimize=True)
    y = y.reshape(y.shape[0], y.shape[1] * output, y.shape[3] * output, -1)
    return y[:, : size[0], : size[1]]


# For 4 and 2 outputs a side: the matrices B^T, G and A^T.
WINOGRAD = {
    4: (
        np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                  [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0],
                  [0, 1, -1, 8, -8, 1]]),
    ),
    2: (
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
    ),
}  # fmt: skip
