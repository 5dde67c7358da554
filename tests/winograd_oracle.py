"""What Winograd's algorithm adds up, in float64, for bounds on its errors.

Written from the matrices of its transforms, as oracle.py is from the sums: images are NHWC, kernels
HWIO, of one to three dimensions.
"""

import numpy as np

# The outputs of Winograd's largest tile.
TILE = 25
# Largest error in units of the largest output: what oneDNN's tests allow its own Winograd.
TOLERANCE = 2e-5
# Of a product on its way through both sides of the three transforms, up to 5 operations and a
# constant of one rounding each; and of the epilogue.
ROUNDINGS = 3 * 2 * 6 + 3


def magnitude(x, kernel, padding, output, strides, dilation):
    """What F(output, taps) on each side of a window sums for each output, all as positive."""
    x, kernel = np.pad(np.abs(_cropped(x, padding)), _pads(padding)), np.abs(kernel)
    x, kernel, strides, dilation = _in_three_dimensions(x, kernel, strides, dilation)
    (stride, *strides), (step, *steps) = strides, dilation
    depth = (x.shape[1] - (len(kernel) - 1) * step - 1) // stride + 1
    slices = [
        sum(
            _magnitude(x[:, z * stride + k * step], taps, output, strides, steps)
            for k, taps in enumerate(kernel)
        )
        for z in range(depth)
    ]
    return np.stack(slices, 1)


def weight_magnitude(x, d_y, window, padding, output, dilation):
    """Likewise for the weight gradient, the transpose of each stage."""
    x = np.pad(np.abs(_cropped(x, padding)), _pads(padding))
    kernel, ones = np.zeros((*window, 1, 1)), (1,) * len(window)
    x, kernel, _, (step, *steps) = _in_three_dimensions(x, kernel, ones, dilation)
    d_y = np.abs(d_y).reshape(len(d_y), x.shape[1] - (len(kernel) - 1) * step, -1, d_y.shape[-1])
    taps = [
        sum(
            _weight_magnitude(x[:, z + k * step], d_y[:, z], kernel.shape[1:3], output, steps)
            for z in range(d_y.shape[1])
        )
        for k in range(len(kernel))
    ]
    return np.stack(taps).reshape(*window, x.shape[-1], d_y.shape[-1])


def _cropped(x, padding):
    crop = [slice(max(0, -before), n - max(0, -after))
            for n, (before, after) in zip(x.shape[1:-1], padding, strict=True)]  # fmt: skip
    return x[(slice(None), *crop)].astype(np.float64)


def _pads(padding):
    return (0, 0), *((max(0, before), max(0, after)) for before, after in padding), (0, 0)


def _in_three_dimensions(x, kernel, strides, dilation):
    """A window along the depth alone is one along the height, whose rows are whole slices."""
    missing = (1,) * (5 - x.ndim)
    x = x.reshape(len(x), *missing, *x.shape[1:])
    kernel = kernel.reshape(*missing, *kernel.shape)
    strides, dilation = (*missing, *strides), (*missing, *dilation)
    if kernel.shape[1:3] == (1, 1):
        x = x.reshape(len(x), 1, x.shape[1], -1, x.shape[-1])
        kernel = kernel.reshape(1, len(kernel), 1, *kernel.shape[3:])
        strides, dilation = (1, strides[0], 1), (1, dilation[0], 1)
    return x, kernel, strides, dilation


def _magnitude(x, kernel, output, strides, dilation):
    """Of images of two dimensions; pixels that a dilated window meets are images of their own."""
    shape = [(size - (taps - 1) * d - 1) // stride + 1
             for size, taps, d, stride in zip(x.shape[1:3], kernel.shape, dilation, strides,
                                              strict=False)]  # fmt: skip
    y = np.zeros((len(x), *shape, kernel.shape[-1]))
    for first in np.ndindex(*dilation):
        each = (slice(None), *map(slice, first, (None, None), dilation))
        if y[each].size:
            y[each] = _plain_magnitude(x[each], kernel, output, strides)
    return y


def _plain_magnitude(x, kernel, output, strides):
    tiling = _tiling(kernel.shape[:2], output, strides)
    (_, g_h, a_h), (_, g_w, a_w) = tiling
    v = _transformed_inputs(x, tiling, strides)
    u = np.einsum("pi,qj,ijco->pqco", g_h, g_w, kernel, optimize=True)
    m = np.einsum("byxpqc,pqco->byxpqo", v, u, optimize=True)
    y = np.einsum("ip,jq,byxpqo->byixjo", a_h, a_w, m, optimize=True)
    y = y.reshape(len(y), y.shape[1] * len(a_h), y.shape[3] * len(a_w), -1)
    height, width = _outputs(x, tiling, strides)
    return y[:, :height, :width]


def _weight_magnitude(x, d_y, window, output, dilation):
    d_y = d_y.reshape(len(d_y), x.shape[1] - (window[0] - 1) * dilation[0], -1, d_y.shape[-1])
    each = [(slice(None), *map(slice, first, (None, None), dilation))
            for first in np.ndindex(*dilation)]  # fmt: skip
    return sum(_plain_weight_magnitude(x[i], d_y[i], window, output) for i in each if d_y[i].size)


def _plain_weight_magnitude(x, d_y, window, output):
    tiling = _tiling(window, output, (1, 1))
    (_, g_h, a_h), (_, g_w, a_w) = tiling
    v = _transformed_inputs(x, tiling, (1, 1))
    missing = [-n % len(a) for n, a in zip(d_y.shape[1:3], (a_h, a_w), strict=True)]
    e = np.pad(d_y, ((0, 0), *((0, n) for n in missing), (0, 0)))
    e = e.reshape(len(e), v.shape[1], len(a_h), v.shape[2], len(a_w), -1)
    z = np.einsum("ip,jq,byixjo->byxpqo", a_h, a_w, e, optimize=True)
    p = np.einsum("byxpqc,byxpqo->pqco", v, z, optimize=True)
    return np.einsum("pi,qj,pqco->ijco", g_h, g_w, p, optimize=True)


def _tiling(window, output, strides):
    """``|B^T|``, ``|G|`` and ``|A^T|`` of each side; where the window is a tap, nothing changes."""
    return [
        [np.eye(1)] * 3 if taps == 1 else [np.abs(each) for each in MATRICES[taps, stride, output]]
        for taps, stride in zip(window, strides, strict=True)
    ]


def _outputs(x, tiling, strides):
    """The height and width of what a window gives."""
    sides = zip(x.shape[1:3], tiling, strides, strict=True)
    return [(size - g.shape[1]) // stride + 1 for size, (_, g, _), stride in sides]


def _transformed_inputs(x, tiling, strides):
    """Tiles of images, which overlap, through the input transform."""
    (b_h, *_), (b_w, *_) = tiling
    steps = [len(a) * stride for (*_, a), stride in zip(tiling, strides, strict=True)]
    sizes = len(b_h), len(b_w)
    outputs = _outputs(x, tiling, strides)
    tiles = [-(-n // len(a)) for n, (*_, a) in zip(outputs, tiling, strict=True)]
    sides = zip(tiles, steps, sizes, x.shape[1:3], strict=True)
    missing = [max(0, (n - 1) * step + size - m) for n, step, size, m in sides]
    x = np.pad(x, ((0, 0), *((0, n) for n in missing), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, sizes, (1, 2))
    windows = windows[:, :: steps[0], :: steps[1]][:, : tiles[0], : tiles[1]]
    return np.einsum("pi,qj,byxcij->byxpqc", b_h, b_w, windows, optimize=True)


def _strided(inputs, weights, outputs):
    """Of a window of two on the even inputs, to which the odd inputs and the middle tap come."""
    even, count = len(inputs), len(outputs)
    b, g = np.zeros((even + count, even + count)), np.zeros((even + count, 3))
    b[:even, ::2], b[even:, 1::2] = inputs, np.eye(count)
    g[:even, ::2], g[even:, 1] = weights, 1
    return b, g, np.hstack([outputs, np.eye(count)])


_FIVE_POINTS = np.array(
    [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]]
)
_PAIRS = {
    4: (
        _FIVE_POINTS,
        np.array([[3, 0], [-3, -3], [-1, 1], [1, 2], [0, 6]]) / 6,
        np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 0], [0, 1, -1, 8, 1]]),
    ),
    2: (
        np.array([[1, -1, 0], [0, 1, 0], [0, -1, 1]]),
        np.array([[1, 0], [1, 1], [0, 1]]),
        np.array([[1, 1, 0], [0, 1, 1]]),
    ),
}
# For the taps of a side, each stride, and 5 to 2 outputs: the matrices B^T, G and A^T. Those of 3
# taps with stride 1 for 4 and 2 are Lavin & Gray's (2015, sections 4.3 and 4.1); five points are 0,
# 1, -1, 2 and infinity, three are 0, 1 and infinity, seven those of 4 outputs and 1/2.
MATRICES = {
    (3, 1, 5): (
        np.array([[-4, 8, 5, -10, -1, 2, 0], [0, 4, -4, -9, 1, 2, 0], [0, -4, 12, -7, -3, 2, 0],
                  [0, 2, -3, -4, 3, 2, 0], [0, -2, 5, 0, -5, 2, 0], [0, -4, 8, 5, -10, -1, 2],
                  [0, 8, 0, -10, 0, 2, 0]]) / 2,
        np.array([[-90, 0, 0], [-60, -60, -60], [20, -20, 20], [5, 10, 20], [-3, 6, -12],
                  [0, 0, 180], [128, 64, 32]]) / 180,
        np.array([[16, 16, 16, 16, 16, 0, 16], [0, 16, -16, 32, -32, 0, 8],
                  [0, 16, 16, 64, 64, 0, 4], [0, 16, -16, 128, -128, 0, 2],
                  [0, 16, 16, 256, 256, 16, 1]]) / 16,
    ),
    (3, 1, 4): (
        np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                  [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0],
                  [0, 1, -1, 8, -8, 1]]),
    ),
    (3, 1, 3): (
        _FIVE_POINTS,
        np.array([[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]) / 6,
        np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]]),
    ),
    (3, 1, 2): (
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
    ),
    **{(2, 1, output): matrices for output, matrices in _PAIRS.items()},
    **{(3, 2, output): _strided(*matrices) for output, matrices in _PAIRS.items()},
}  # fmt: skip
