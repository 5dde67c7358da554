"""Pooling and its gradient on every instruction set: windows, edges, equal numbers, NaN, means."""

import functools

import jax
import numpy as np
import pytest

from covering import covering
from kernel_case import assert_same_bits, in_programs, on_every_isa
from resfuse.kernel.pool import Pooling, pool_gradient, pool_on_cpu

AXES = {
    "dimensions": (1, 2, 3),
    "batch": (1, 3),
    "size": ((2, 5, 7), (1, 8, 3), (4, 13, 8), (3, 2, 14), (3, 1, 1)),
    # Around a vector, two and four of 4, 8 and 16 lanes.
    "channels": (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 113),
    "window": ((1, 1, 1), (2, 2, 2), (3, 3, 3), (2, 1, 4), (1, 5, 2)),
    "strides": ((1, 1, 1), (2, 2, 2), (2, 1, 3), (1, 4, 1)),
    "dilation": ((1, 1, 1), (1, 2, 3), (2, 3, 1)),
    "padding": (
        ((0, 0), (0, 0), (0, 0)),
        ((1, 1), (1, 1), (1, 1)),
        ((1, 0), (0, 1), (2, 0)),
        ((3, 2), (9, 8), (9, 8)),
        ((-1, 1), (2, -1), (-1, 1)),
        ((0, 5), (-3, 9), (-8, 9)),
    ),
}


def geometry(row):
    names = ("window", "strides", "padding", "dilation")
    return tuple(row[name][-row["dimensions"] :] for name in names)


def image(row):
    return row["batch"], *row["size"][-row["dimensions"] :], row["channels"]


def case(shape, window, strides=None, padding=None, dilation=None):
    ones = (1,) * len(window)
    return shape, (window, strides or ones, padding or ((0, 0),) * len(window), dilation or ones)


class Windows:
    """The oracle: an image's windows, one tap of all of them at a time."""

    def __init__(self, size, window, strides, padding, dilation):
        self.size, self.strides = size, strides
        self.taps = [np.multiply(tap, dilation) for tap in np.ndindex(*window)]
        self.pads = [(max(low, 0), max(high, 0)) for low, high in padding]
        self.crops = [(max(-low, 0), max(-high, 0)) for low, high in padding]
        sides = zip(size, padding, window, dilation, strides, strict=True)
        self.outputs = [
            max(0, (n + sum(pads) - (taps - 1) * dilation - 1) // stride + 1)
            for n, pads, taps, dilation, stride in sides
        ]

    def cropped(self, padded):
        """A view of what is left of a padded image."""
        ends = zip(padded.shape[1:-1], self.crops, strict=True)
        return padded[:, *(slice(low, n - high) for n, (low, high) in ends)]

    def padded(self, x, value):
        return np.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=value)

    def at(self, x, tap):
        """A view of that tap of each window."""
        sides = zip(tap, self.strides, self.outputs, strict=True)
        return x[:, *(slice(first, None, stride) for first, stride, _ in sides)][
            :, *map(slice, self.outputs)
        ]

    def pooled(self, operation, x):
        """``np.maximum`` passes NaN on."""
        start, of = {"max": (-np.inf, np.maximum), "sum": (0.0, np.add)}[operation]
        x = self.cropped(self.padded(x, start))
        y = np.full((len(x), *self.outputs, x.shape[-1]), start, x.dtype)
        for tap in self.taps:
            y = of(y, self.at(x, tap))
        return y

    def gradient(self, operation, x, d_y):
        """Each cotangent to all of its window, or to the largest.

        One by one, a number takes the place of the largest so far unless that is as large; so the
        last NaN does, and whatever follows it. Where padding is the largest nothing has it.
        """
        x = self.cropped(self.padded(x, -np.inf))
        best, chosen = np.full(d_y.shape, np.nan, np.float32), np.full(d_y.shape, -1)
        for index, tap in enumerate(self.taps):
            taken = ~(best >= self.at(x, tap))
            best, chosen = np.where(taken, self.at(x, tap), best), np.where(taken, index, chosen)
        d_padded = self.padded(np.zeros((len(x), *self.size, x.shape[-1]), np.float32), 0)
        for index, tap in enumerate(self.taps):
            part = d_y if operation == "sum" else np.where(chosen == index, d_y, 0)
            self.at(self.cropped(d_padded), tap)[...] += part
        inside = zip(self.pads, self.size, strict=True)
        return d_padded[:, *(slice(low, low + n) for (low, _), n in inside)]


def assert_right(cases, draws=None):
    """Values and gradients of all in one program; sums are of integers, so exact."""
    work = [
        (Pooling(operation, *geometry), Windows(shape[1:-1], *geometry), draw(*shape))
        for shape, geometry in cases
        for operation, draw in (draws or {"max": few_values, "sum": integers}).items()
    ]
    outputs = [(len(x), *windows.outputs, x.shape[-1]) for _, windows, x in work]
    cotangents = [integers(*shape) for shape in outputs]

    @jax.jit
    def program(images, cotangents):
        inputs = zip(work, images, cotangents, strict=True)
        return [(pool_on_cpu(how, x), pool_gradient(how, x, d)) for (how, *_), x, d in inputs]

    call = functools.partial(program, [x for *_, x in work], cotangents)
    results = on_every_isa(lambda: jax.tree.map(np.asarray, call()))
    for isa, results_on_isa in results.items():
        for (how, windows, x), d_y, (y, d_x) in zip(work, cotangents, results_on_isa, strict=True):
            what = f"{x.shape} {how} on {isa}"
            np.testing.assert_array_equal(y, windows.pooled(how.operation, x), err_msg=what)
            assert_same_bits(d_x, windows.gradient(how.operation, x, d_y), what)


def normals(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def integers(*shape):
    return np.random.default_rng(1).integers(-8, 9, shape).astype(np.float32)


def few_values(*shape):
    """Most windows have several of their largest, or NaN."""
    values = np.array([0.0, -0.0, 1.0, 1.0, 1.0, np.inf, -np.inf, np.nan], np.float32)
    return np.random.default_rng(0).choice(values, shape)


ROWS = covering(AXES, lambda row: min(Windows(image(row)[1:-1], *geometry(row)).outputs) > 0)


@in_programs([(image(row), geometry(row)) for row in ROWS], 24, share=2)
def test_values_and_gradients(cases):
    assert_right(cases)


EXTENTS = {
    "no images": case((0, 5, 6, 4), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "no rows": case((2, 2, 6, 4), (3, 3), None, ((0, 0), (1, 1))),
    "no columns": case((2, 6, 2, 4), (3, 3), None, ((1, 1), (0, 0))),
    "no planes": case((2, 1, 6, 5, 4), (2, 3, 3)),
    "no rows for dilation": case((2, 4, 6, 4), (3, 3), dilation=(2, 1)),
    "no rows for cropping": case((2, 4, 6, 4), (2, 2), None, ((-2, -1), (0, 0))),
    "window over the image": case((2, 2, 3, 5), (9, 8), None, ((4, 5), (4, 3))),
    "stride over the image": case((2, 5, 4, 5), (2, 2), (40, 2**31), ((1, 1), (0, 1))),
    "dilation over the image": case((2, 3, 5), (2,), None, ((100, 0),), (100,)),
    "more rows than threads take": case((3, 112, 113, 9), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "a wide row": case((1, 2, 3000, 33), (2, 3), None, ((0, 0), (1, 1))),
}


def test_extents():
    assert_right(EXTENTS.values())


# Around where there is a second run, and a run of one pixel more; a line, images, a volume.
GLOBAL = [(1, 1), (8, 1), (9, 1), (16, 1), (17, 1), (3, 27), (9, 9), (41, 10), (5, 6, 7), (3000,)]


@in_programs([case((2, *size, 19), size) for size in GLOBAL], size=len(GLOBAL))
def test_windows_that_are_the_image(cases):
    assert_right(cases)


def test_rounding_of_a_sum_over_an_image():
    """Grows with twice the square root of the number of pixels at most.

    Each of two sums of n terms in turn rounds n times, by half of the epsilon of the sum of
    absolute values so far.
    """
    x = normals(2, 57, 63, 21) + np.float32(1)
    call = jax.jit(functools.partial(pool_on_cpu, Pooling("sum", *case(x.shape, (57, 63))[1])))
    exact, most = x.sum((1, 2), np.float64), np.abs(x).sum((1, 2), np.float64)
    bound = (np.sqrt(57 * 63) + 1) * np.finfo(np.float32).eps * most
    for isa, y in on_every_isa(lambda: np.asarray(call(x))).items():
        assert (np.abs(y[:, 0, 0] - exact) <= bound).all(), isa


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_numbers_reach_their_windows_and_no_other(value):
    """An image for each number of an image, which is ``value`` there."""

    def draw(*shape):
        x = integers(1, *shape[1:]).repeat(shape[0], 0)
        x[np.eye(len(x), dtype=bool).reshape(x.shape)] = value
        return x

    small = [(12 * n, 3, 4, n) for n in (1, 4, 5, 16, 17, 33)]
    geometry = case((), (2, 3), (1, 2), ((1, 0), (1, 1)))[1]
    assert_right([(shape, geometry) for shape in small], {"max": draw, "sum": draw})


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nothing_but(value):
    def draw(*shape):
        return np.full(shape, value, np.float32)

    assert_right(
        [case((2, 4, 5, 17), (3, 3), (2, 2), ((1, 1), (1, 1)))], {"max": draw, "sum": draw}
    )
