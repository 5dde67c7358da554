"""Pooling in a fused function: in any order of axes, averages, means over images; what is left."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

import resfuse
from agreement import images
from cases import kernel_calls

KERNEL = images(3, 3, 4, 8)
LARGE = (2, 40, 33, 8)  # more pixels than XLA takes at the speed of memory


def reduced(x, operation, window, strides=None, padding="VALID", dilation=None):
    start = {lax.max: -jnp.inf, lax.add: 0.0}[operation]
    return lax.reduce_window(
        x, start, operation, window, strides or window, padding, window_dilation=dilation
    )


def conv(x):
    return lax.conv_general_dilated(
        x, KERNEL[:, :, : x.shape[-1]], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def squeezed(x):
    y = jnp.tanh(conv(x))
    return y * y.mean((1, 2), keepdims=True)


avg_pool = jax.numpy_dtype_promotion("standard")(linen.avg_pool)  # its divisor is an integer
average = functools.partial(avg_pool, window_shape=(3, 3), strides=(2, 2))

# A function, the shape of its argument, and which calls are made for it.
TAKEN = {
    "largest": (lambda x: linen.max_pool(x, (3, 3), (2, 2), "SAME"), (2, 7, 6, 5), ["max"]),
    "channels first": (lambda x: reduced(x, lax.max, (1, 1, 2, 3)), (2, 5, 7, 6), ["max"]),
    "axes in front": (lambda x: reduced(x, lax.add, (3, 2, 1)), (7, 6, 5), ["sum"]),
    "a line": (lambda x: avg_pool(x, (3,), (2,)), (2, 9, 5), ["sum"]),
    "rows only": (lambda x: reduced(x, lax.add, (1, 1, 4, 1)), (2, 5, 9, 4), ["sum"]),
    "a volume": (lambda x: avg_pool(x, (2, 2, 2), (2, 2, 2)), (2, 4, 5, 6, 5), ["sum"]),
    "dilated": (
        lambda x: reduced(x, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), dilation=(1, 3, 2, 1)),
        (2, 7, 6, 5),
        ["max"],
    ),
    "cropped": (
        lambda x: reduced(x, lax.add, (1, 2, 2, 1), None, ((0, 0), (-1, 1), (0, -2), (0, 0))),
        (2, 7, 6, 5),
        ["sum"],
    ),
    "average with padding": (lambda x: average(x, padding="SAME"), (2, 8, 6, 5), ["sum"]),
    "average of what is inside": (
        lambda x: average(x, padding="SAME", count_include_pad=False),
        (2, 8, 6, 5),
        ["sum"],
    ),
    "its gradient": (
        jax.grad(lambda x: jnp.sum(reduced(x, lax.max, (1, 3, 3, 1), (1, 2, 2, 1)) ** 2)),
        (2, 9, 8, 5),
        ["max", "max_pool_gradient"],
    ),
    "its gradient with channels first": (
        jax.grad(lambda x: jnp.sum(reduced(x, lax.max, (1, 1, 2, 3)) ** 2)),
        (2, 5, 7, 6),
        ["max", "max_pool_gradient"],
    ),
    "mean": (lambda x: x.mean((1, 2)), LARGE, ["sum"]),
    "mean that keeps axes": (lambda x: x.mean((1, 2), keepdims=True), LARGE, ["sum"]),
    "mean of a column": (lambda x: x.mean((1, 2)), (2, 1030, 1, 5), ["sum"]),
    "largest of the image": (lambda x: x.max((1, 2)), LARGE, ["max"]),
    "mean of a line": (lambda x: x.mean(1), (2, 1030, 5), ["sum"]),
    "mean of a volume": (lambda x: x.mean((1, 2, 3)), (2, 4, 17, 16, 5), ["sum"]),
    "squeezed": (squeezed, (2, 40, 33, 4), ["sum"]),
    "mean of a convolution": (lambda x: jax.nn.relu(conv(x)).mean((1, 2)), (2, 40, 33, 4), ["sum"]),
}

LEFT = {
    "few channels": (lambda x: linen.max_pool(x, (3, 3), (2, 2), "SAME"), (2, 7, 6, 3)),
    "axes apart": (lambda x: reduced(x, lax.max, (2, 1, 2, 1)), (4, 5, 6, 5)),
    "four axes": (lambda x: reduced(x, lax.max, (2, 2, 2, 2)), (4, 5, 6, 5)),
    "whole numbers": (lambda x: linen.max_pool(jnp.int32(x), (2, 2)), (2, 7, 6, 5)),
    "smallest": (
        lambda x: lax.reduce_window(x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"),
        (2, 7, 6, 5),
    ),
    "mean of few pixels": (lambda x: x.mean((1, 2)), (2, 5, 6, 5)),
    "mean with channels first": (lambda x: x.mean((2, 3)), (2, 5, 40, 33)),
    "mean over the batch": (lambda x: x.mean((0, 1, 2)), LARGE),
    "mean of what XLA computes on the way": (lambda x: jnp.tanh(x).mean((1, 2)), LARGE),
}


def calls(function, *arguments):
    return [
        name.removeprefix("resfuse_").removesuffix("_pool")
        for name, _ in kernel_calls(function, *arguments)
        if "pool" in name
    ]


def explained_pools(capsys, function, *arguments):
    resfuse.explain(function, *arguments)
    return int(re.search(r"; pools: (\d+)$", capsys.readouterr().out, re.MULTILINE).group(1))


@pytest.mark.parametrize(("function", "shape", "expected"), TAKEN.values(), ids=TAKEN)
def test_taken(function, shape, expected):
    """With the function's results, up to the order of sums of a few hundred numbers."""
    x, fast = images(*shape), resfuse.fuse(function)
    assert calls(fast, x) == expected
    np.testing.assert_allclose(fast(x), jax.jit(function)(x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("function", "shape"), LEFT.values(), ids=LEFT)
def test_left(capsys, function, shape):
    x = images(*shape)
    assert calls(resfuse.fuse(function), x) == []
    assert explained_pools(capsys, function, x) == 0
    np.testing.assert_array_equal(resfuse.fuse(function)(x), jax.jit(function)(x))


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 3), (0, 1)), ((5, 0), (0, 5))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_counts_are_not_computed_by_xla(padding, strides):
    """It would compute them while it compiles, for seconds. Windows of padding alone have none."""
    pads = padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))

    def count(x):
        ones = jnp.ones(x.shape)
        return reduced(ones, lax.add, (1, 3, 2, 1), (1, *strides, 1), pads, (1, 2, 1, 1))

    x = images(2, 8, 7, 8)
    assert "reduce_window" not in jax.jit(resfuse.fuse(count)).lower(x).as_text()
    np.testing.assert_array_equal(resfuse.fuse(count)(x), jax.jit(count)(x))


def test_explained(capsys):
    function, shape, _ = TAKEN["squeezed"]
    pooled = explained_pools(capsys, lambda x: average(average(function(x))), images(*shape))
    assert pooled == 3


@pytest.mark.parametrize("name", ["average of what is inside", "mean", "squeezed", "a volume"])
def test_gradients(name):
    function, shape, _ = TAKEN[name]
    x = images(*shape)
    got, expected = (
        jax.jit(jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x)))))(x)
        for f in (resfuse.fuse(function), function)
    )
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
