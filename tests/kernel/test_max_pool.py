"""Max pooling and its gradient on every instruction set: windows, edges, equal numbers, NaN."""

import functools

import jax
import numpy as np
import pytest

from covering import covering
from kernel_case import assert_same_bits, on_every_isa
from resfuse import reference
from resfuse.kernel.pool import pool, pool_gradient

AXES = {
    "batch": (1, 3),
    "height": (1, 2, 5, 8, 13),
    "width": (1, 3, 7, 8, 14),
    # Around a vector and two of 4, 8 and 16 lanes.
    "channels": (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33),
    "window": ((1, 1), (2, 2), (3, 3), (1, 4), (5, 2)),
    "strides": ((1, 1), (2, 2), (1, 3), (4, 1)),
    "padding_h": ((0, 0), (1, 1), (0, 1), (2, 0), (9, 8)),
    "padding_w": ((0, 0), (1, 1), (0, 1), (2, 0), (9, 8)),
}


def geometry(row):
    return row["window"], row["strides"], (row["padding_h"], row["padding_w"])


def image(row):
    return row["batch"], row["height"], row["width"], row["channels"]


def output_size(sizes, window, strides, padding):
    return [
        max(0, (size + sum(pads) - n) // stride + 1)
        for size, pads, n, stride in zip(sizes, padding, window, strides, strict=True)
    ]


def pooled(x, window, strides, padding):
    """The maxima, one pixel of the window at a time; ``np.maximum`` passes NaN on."""
    rows, columns = output_size(x.shape[1:3], window, strides, padding)
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf)
    y = np.full((len(x), rows, columns, x.shape[-1]), -np.inf, x.dtype)
    for i, j in np.ndindex(*window):
        pixels = x[:, i:, j:][:, :: strides[0], :: strides[1]][:, :rows, :columns]
        y = np.maximum(y, pixels)
    return y


def assert_right(x, *geometry):
    """Any number of them equal to another is the same; only NaN and the sign of zero are not."""
    call = functools.partial(jax.jit(pool, static_argnums=(0, 1, 2)), *geometry, x)
    expected = pooled(x, *geometry)
    for isa, y in on_every_isa(lambda: np.asarray(call())).items():
        np.testing.assert_array_equal(y, expected, err_msg=isa)


def gradient(x, d_y, window, strides, padding):
    """Each cotangent to the first of the largest, or to nothing where that is padding.

    One by one, a number takes the place of the largest so far unless that is as large; so the last
    NaN does, and whatever follows it.
    """
    rows, columns = d_y.shape[1:3]
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf)
    d_x = np.zeros(x.shape, np.float32)

    def at(array, i, j):
        return array[:, i:, j:][:, :: strides[0], :: strides[1]][:, :rows, :columns]

    best, chosen = np.full(d_y.shape, np.nan, np.float32), np.full(d_y.shape, -1)
    for index, tap in enumerate(np.ndindex(*window)):
        taken = ~(best >= at(x, *tap))
        best, chosen = np.where(taken, at(x, *tap), best), np.where(taken, index, chosen)
    for index, tap in enumerate(np.ndindex(*window)):
        at(d_x, *tap)[...] += np.where(chosen == index, d_y, 0)
    (top, bottom), (left, right) = padding
    return d_x[:, top : d_x.shape[1] - bottom, left : d_x.shape[2] - right]


def assert_right_gradient(x, *geometry):
    """Of integers, whose sums are exact."""
    shape = pooled(x, *geometry).shape
    d_y = np.random.default_rng(1).integers(-8, 9, shape).astype(np.float32)
    call = jax.jit(lambda x, d_y: pool_gradient(*geometry, x, d_y))
    expected = gradient(x, d_y, *geometry)
    for isa, d_x in on_every_isa(lambda: np.asarray(call(x, d_y))).items():
        assert_same_bits(d_x, expected, isa)
    return d_y, expected


def normals(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def few_values(*shape):
    """Most windows have several of their largest, or NaN."""
    values = np.array([0.0, -0.0, 1.0, 1.0, 1.0, np.inf, -np.inf, np.nan], np.float32)
    return np.random.default_rng(0).choice(values, shape)


TABLE = pytest.mark.parametrize(
    "row",
    covering(AXES, lambda row: min(output_size(image(row)[1:3], *geometry(row))) > 0),
    ids=lambda row: f"{image(row)} {geometry(row)}",
)


@TABLE
def test_values(row):
    assert_right(normals(*image(row)), *geometry(row))


@TABLE
def test_gradient(row):
    assert_right_gradient(few_values(*image(row)), *geometry(row))


@pytest.mark.parametrize(
    ("draw", "geometry"),
    {
        "the stem's": (few_values, ((3, 3), (2, 2), ((1, 1), (1, 1)))),
        "uneven": (few_values, ((2, 4), (1, 1), ((0, 1), (2, 1)))),
        "windows of padding alone": (normals, ((2, 2), (1, 2), ((3, 4), (0, 5)))),
        "overlap": (few_values, ((3, 3), (2, 2), ((0, 0), (0, 0)))),
        "every pixel": (few_values, ((2, 4), (1, 1), ((0, 0), (0, 0)))),
        "stride over the window": (few_values, ((2, 1), (3, 4), ((0, 0), (0, 0)))),
    }.values(),
)
def test_gradient_is_that_of_reduce_window(draw, geometry):
    x = draw(2, 9, 8, 17)
    d_y, ours = assert_right_gradient(x, *geometry)
    names = zip(("window", "strides", "padding"), geometry, strict=True)
    pool = functools.partial(reference.max_pool, **dict(names))
    theirs = jax.jit(lambda x, d_y: jax.vjp(pool, x)[1](d_y)[0])(x, d_y)
    np.testing.assert_array_equal(ours, theirs)


EXTENTS = pytest.mark.parametrize(
    ("shape", "geometry"),
    {
        "no images": ((0, 5, 6, 4), ((3, 3), (2, 2), ((1, 1), (1, 1)))),
        "no rows": ((2, 2, 6, 4), ((3, 3), (1, 1), ((0, 0), (1, 1)))),
        "no columns": ((2, 6, 2, 4), ((3, 3), (1, 1), ((1, 1), (0, 0)))),
        "window over the image": ((2, 2, 3, 5), ((9, 8), (1, 1), ((4, 5), (4, 3)))),
        "stride over the image": ((2, 5, 4, 5), ((2, 2), (40, 2**31), ((1, 1), (0, 1)))),
        "more rows than threads take": ((3, 112, 113, 9), ((3, 3), (2, 2), ((1, 1), (1, 1)))),
        "a wide row": ((1, 2, 3000, 33), ((2, 3), (1, 1), ((0, 0), (1, 1)))),
    }.values(),
)


@EXTENTS
def test_extents(shape, geometry):
    assert_right(normals(*shape), *geometry)


@EXTENTS
def test_extents_of_the_gradient(shape, geometry):
    assert_right_gradient(few_values(*shape), *geometry)


@pytest.mark.parametrize("channels", [1, 4, 5, 16, 17, 33])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_numbers_reach_their_windows_and_no_other(channels, value):
    """An image for each number of an image, which is ``value`` there."""
    shape = (3, 4, channels)
    x = np.repeat(normals(1, *shape), np.prod(shape), 0)
    x[np.eye(len(x), dtype=bool).reshape(x.shape)] = value
    assert_right(x, (2, 3), (1, 2), ((1, 0), (1, 1)))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nothing_but(value):
    assert_right(np.full((2, 4, 5, 17), value, np.float32), (3, 3), (2, 2), ((1, 1), (1, 1)))
