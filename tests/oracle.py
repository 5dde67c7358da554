"""What the kernel must compute, in float64 and few lines; exact on integers.

Images are NHWC, kernels HWIO, of one to three dimensions.
"""

import dataclasses

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)
# No register tile is higher, on any instruction set.
TILE = 14
GROUP = 32  # pixels whose sums are in float32, of whole tiles


def convolve(x, kernel, strides, padding, groups=1, dilation=None, image_dilation=None):
    """The convolution, one tap of the window at a time."""
    x, kernel = _by_group(x, groups), _by_group(kernel, groups)
    size, window = x.shape[1:-2], kernel.shape[:-3]
    sides = _sides(size, window, strides, padding, dilation, image_dilation)
    y = np.zeros((len(x), *(side.out for side in sides), groups, kernel.shape[-1]))
    for tap, pixels, outputs in _taps(window, sides):
        y[outputs] += _product("b*gc,cgo->b*go", x[pixels], kernel[tap])
    return _ungrouped(y)


def input_gradient(
    d_y, kernel, size, strides, padding, groups=1, dilation=None, image_dilation=None
):
    """The convolution's transpose: each output's cotangent goes back to the pixels of its window.

    ``size`` is the input's, without batch and channels.
    """
    d_y, kernel = _by_group(d_y, groups), _by_group(kernel, groups)
    window = kernel.shape[:-3]
    sides = _sides(size, window, strides, padding, dilation, image_dilation)
    d_x = np.zeros((len(d_y), *size, groups, kernel.shape[-3]))
    for tap, pixels, outputs in _taps(window, sides):
        d_x[pixels] += _product("b*go,cgo->b*gc", d_y[outputs], kernel[tap])
    return _ungrouped(d_x)


def weight_gradient(x, d_y, window, strides, padding, groups=1, dilation=None, image_dilation=None):
    """Each tap's sum over the pixels of the inputs that it meets times the cotangents."""
    x, d_y = _by_group(x, groups), _by_group(d_y, groups)
    sides = _sides(x.shape[1:-2], window, strides, padding, dilation, image_dilation)
    d_kernel = np.zeros((*window, x.shape[-1], groups, d_y.shape[-1]))
    for tap, pixels, outputs in _taps(window, sides):
        d_kernel[tap] += _product("b*gc,b*go->cgo", x[pixels], d_y[outputs])
    return _ungrouped(d_kernel)


def _product(rule, a, b):
    """An einsum, where ``*`` stands for the images' spatial axes."""
    return np.einsum(rule.replace("*", "zyx"[-(a.ndim - 3) :]), a, b, optimize=True)


def _by_group(array, groups):
    """In float64, with the last axis as ``(groups, channels of one)``."""
    return array.astype(np.float64).reshape(*array.shape[:-1], groups, array.shape[-1] // groups)


def _ungrouped(array):
    return array.reshape(*array.shape[:-2], array.shape[-2] * array.shape[-1])


@dataclasses.dataclass
class _Side:
    """One spatial dimension: output y meets tap i at ``y * stride - pad + i * dilation``."""

    size: int
    out: int
    stride: int
    pad: int
    dilation: int
    image_dilation: int

    def meet(self, tap):
        """The pixels that a tap meets, and the outputs for which it does."""
        outputs = np.arange(self.out)
        at = outputs * self.stride - self.pad + tap * self.dilation
        pixels = at // self.image_dilation
        met = (at % self.image_dilation == 0) & (pixels >= 0) & (pixels < self.size)
        return pixels[met], outputs[met]


def _sides(size, window, strides, padding, dilation, image_dilation):
    ones = (1,) * len(size)
    sides = []
    for n, k, s, (before, after), d, b in zip(
        size, window, strides, padding, dilation or ones, image_dilation or ones, strict=True
    ):
        room = (n - 1) * b + 1 + before + after - (k - 1) * d - 1
        sides.append(_Side(n, max(0, room // s + 1), s, before, d, b))
    return sides


def _taps(window, sides):
    """The taps of a window, and of each the indices of the pixels and of the outputs that meet."""
    for tap in np.ndindex(*window):
        met = [side.meet(i) for side, i in zip(sides, tap, strict=True)]
        pixels, outputs = (np.ix_(*of_sides) for of_sides in zip(*met, strict=True))
        yield tap, (slice(None), *pixels), (slice(None), *outputs)


def affine(y, scale, shift, *residual, relu):
    """The epilogue on a convolution ``y``."""
    y = sum(residual, y * scale + shift)
    return np.maximum(y, 0.0) if relu else y


def statistics(y):
    """Mean and biased variance of each channel."""
    y = y.astype(np.float64).reshape(-1, y.shape[-1])
    return y.mean(0), y.var(0)


def statistics_tolerance(y, tile=TILE):
    """How far from :func:`statistics` the kernel may be, whatever the data.

    In float32 are, for each group of fewer than ``M = GROUP + tile`` pixels, the deviations from
    its first pixel, whose mean size is at most ``1 + sqrt(M)`` standard deviations; their sum,
    which goes through ``D`` additions, within a tile of m pixels and over ``GROUP / m`` tiles, so
    that it is off by ``D * EPSILON / 2`` of their sizes; and the sum of their squares, at most M
    times the variance's, off by ``(D + 3) * EPSILON / 2``. The first error moves the groups' means
    as well, and the variance by twice as much. The rest is in doubles, where means of blocks have a
    few roundings ``e``; those change the variance by ``2 e`` standard deviations at most
    (Cauchy-Schwarz), and by ``e^2``. The results are rounded once more, to float32.
    """
    mean, variance = statistics(y)
    pixels, additions = GROUP + tile, GROUP + 1  # the most of m + GROUP / m
    mean_error = additions * (1 + pixels**0.5) / 2 * EPSILON
    variance_error = 2 * mean_error + pixels * (additions + 3) / 2 * EPSILON
    deviation = np.sqrt(variance)
    e = 8 * np.finfo(np.float64).eps * np.abs(y.astype(np.float64)).max(tuple(range(y.ndim - 1)))
    return (
        EPSILON / 2 * np.abs(mean) + mean_error * deviation + e,
        (variance_error + EPSILON / 2) * variance + 2 * e * deviation + e**2,
    )
