"""``fuse`` of functions that differentiate: the gradients' convolutions, as JAX writes them."""

import functools

import jax
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding

import agreement
import resfuse
from fuse_chains import cast, loss, table
from two_devices import BATCH, mesh

random = np.random.default_rng(0)


def normal(*shape):
    return agreement.on_device(random.normal(size=shape))


LINE, IMAGE, VOLUME = normal(2, 12, 4), normal(2, 10, 9, 4), normal(2, 7, 8, 7, 4)
KERNELS = {x.ndim: normal(*[3] * (x.ndim - 2), 4, 6) / 6 for x in (LINE, IMAGE, VOLUME)}


def convolution(x, kernel, padding="SAME", strides=1, order=None, **settings):
    spatial = "DHW"[5 - x.ndim :]
    order = order or (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    strides = (strides,) * len(spatial)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=order, **settings
    )


def channels_first(x, kernel):
    x, kernel = x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)
    return convolution(x, kernel, order=("NCHW", "OIHW", "NCHW"), strides=2)


def case(x, kernel=None, **settings):
    kernel = KERNELS[x.ndim] if kernel is None else kernel
    return x, kernel, lambda x, kernel: convolution(x, kernel, **settings)


CASES = {
    "one dimension": case(LINE),
    "causal": case(LINE, padding=((4, 0),), rhs_dilation=(2,)),
    "strides": case(IMAGE, strides=2),
    "strides that leave pixels": case(IMAGE, strides=2, padding="VALID"),
    "dilated window": case(IMAGE, rhs_dilation=(2, 3)),
    "transposed": case(IMAGE, lhs_dilation=(2, 2), padding=((1, 2), (2, 1))),
    "cropped": case(IMAGE, padding=((-1, 1), (1, -2))),
    "channels first": (IMAGE, KERNELS[4], channels_first),
    "groups": case(IMAGE, KERNELS[4][:, :, :2], feature_group_count=2, strides=2),
    "depthwise": case(IMAGE, KERNELS[4][:, :, :1, :4], feature_group_count=4),
    "batch groups": case(IMAGE, batch_group_count=2),
    "pixels": case(IMAGE, KERNELS[4][:1, :1]),
    "three dimensions": case(VOLUME, strides=2),
    "planes": case(VOLUME, KERNELS[4][None]),
}  # fmt: skip


def gradient(function):
    """Of all outputs, by images and by weights."""
    return cast(jax.grad(lambda x, kernel: loss(lambda x: function(x, kernel))(x), (0, 1)))


def per_example(function):
    """As for differential privacy: the weight gradient of each image."""

    def of_one(x, kernel):
        return jax.grad(lambda kernel: loss(lambda x: function(x[None], kernel))(x))(kernel)

    return cast(jax.vmap(of_one, (0, None)))


FUNCTIONS = {name: (x, kernel, gradient(f)) for name, (x, kernel, f) in CASES.items()}
FUNCTIONS["of each image"] = IMAGE, KERNELS[4], per_example(CASES["strides"][2])


@functools.cache
def compared():
    def together(fuse):
        functions = {name: fuse(function) for name, (_, _, function) in FUNCTIONS.items()}
        return jax.jit(lambda arrays: {k: functions[k](*pair) for k, pair in arrays.items()})

    arrays = {name: (x, kernel) for name, (x, kernel, _) in FUNCTIONS.items()}
    return together(resfuse.fuse)(arrays), agreement.in_float64(together(lambda f: f), arrays)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    agreement.assert_near(*(each[name] for each in compared()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_are_taken(name, capsys):
    x, kernel, function = FUNCTIONS[name]
    _, rows, summary = table(capsys, function, x, kernel)
    assert summary.startswith(f"{len(rows)} of {len(rows)} convolutions on the kernel")
    assert "weight gradient" in str(rows)


def test_derivatives_of_gradients():
    """By images and by weights, through the fused gradient by both."""
    names = ("causal", "strides", "transposed", "groups", "batch groups")

    def together(fuse):
        def second(x, kernel, function):
            fused = fuse(function)
            return jax.grad(lambda pair: loss(lambda pair: fused(*pair))(pair))((x, kernel))

        functions = {name: FUNCTIONS[name][2] for name in names}
        return cast(jax.jit(lambda a: {k: second(*a[k], f) for k, f in functions.items()}))

    arrays = {name: FUNCTIONS[name][:2] for name in names}
    ours = together(resfuse.fuse)(arrays)
    agreement.assert_near(ours, agreement.in_float64(together(lambda f: f), arrays))


def test_of_a_batch_on_two_devices():
    """Each has its part of the sum."""
    x, kernel, function = FUNCTIONS["strides"]
    split = jax.device_put(x, NamedSharding(mesh(), BATCH))
    agreement.assert_near(jax.jit(resfuse.fuse(function))(split, kernel), compared()[1]["strides"])


@pytest.mark.parametrize(("images", "channels"), [(0, 4), (2, 0)])
def test_of_nothing(images, channels):
    x, kernel = IMAGE[:images, ..., :channels], KERNELS[4][:, :, :channels]
    ours, theirs = (fuse(gradient(convolution))(x, kernel) for fuse in (resfuse.fuse, jax.jit))
    agreement.assert_identical(ours, theirs)
