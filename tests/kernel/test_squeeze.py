"""Dense layers on the sums over all pixels as one call; sums of rows that a cascade leaves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import agreement
from kernel_case import assert_same_bits, on_every_isa
from resfuse import ffi
from resfuse.kernel import cascade as kernel
from resfuse.kernel.cascade import Cascade, Part, PartArrays
from resfuse.kernel.epilogue import IDENTITY, RELU, compile_elementwise
from resfuse.spec import ConvSpec

PIXEL, LINE = (ConvSpec((1,) * n, ((0, 0),) * n, (1,) * n, (1,) * n, 1, None) for n in (2, 1))
# Images, the channels of the layers, and the dimensions in which these lie: at the widths of
# vectors, and in pools of one step and of two.
SQUEEZES = {
    "one layer": ((1, 7, 7, 15), (17,), PIXEL),
    "two": ((3, 5, 3, 33), (7, 33), PIXEL),
    "three": ((1, 9, 11, 31), (16, 65, 3), PIXEL),
    "along a line": ((3, 28, 1, 16), (33, 15), LINE),
    "of a single pixel": ((2, 1, 1, 48), (12, 48), PIXEL),
    "for two threads": ((8, 14, 14, 260), (70, 260), PIXEL),
    "no image": ((0, 3, 3, 8), (4, 8), PIXEL),
}
# Images and channels of a depthwise convolution and of what expands its input: rows that threads
# share, whole images, and the parts one after the other.
ROWS = {"bands": (1, 30, 29, 5, 70), "images": (6, 7, 6, 9, 33), "apart": (1, 6, 5, 16, 15)}


def integers(seed, *shape):
    """Of which all sums here are exact in float32."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def layers(channels, outputs, ones=(1, 1)):
    """The kernel, scale and shift of each."""
    sizes = zip((channels, *outputs), outputs, strict=False)
    return [
        (integers(i, *ones, *size), *integers(9 + i, 2, size[1])) for i, size in enumerate(sizes)
    ]


def squeeze(x, weights, spec, call=kernel.cascade_on_cpu):
    parts = tuple(Part(spec, RELU) for _ in weights)
    arrays = [
        PartArrays(ffi.pack(lax.stop_gradient(w), spec), w, *rest, ()) for w, *rest in weights
    ]
    return call(x, *arrays, static=Cascade(parts, squeeze=True))[0]


def expected(x, weights):
    y = x.sum((1, 2), dtype=np.float64)
    for kernel_, scale, shift in weights:
        y = np.maximum(y @ kernel_.reshape(kernel_.shape[-2:]) * scale + shift, 0)
    return y.astype(np.float32)


def test_exact():
    """On integers, on every instruction set."""
    cases = {
        name: (integers(3, *x), layers(x[-1], outputs, (1,) * len(spec.strides)), spec)
        for name, (x, outputs, spec) in SQUEEZES.items()
    }

    def all_of_them():
        return {name: squeeze(*case) for name, case in cases.items()}

    for isa, found in jax.jit(lambda: on_every_isa(all_of_them))().items():
        for name, (x, weights, spec) in cases.items():
            y = np.asarray(found[name])
            assert y.shape == (len(x), *(1 for _ in spec.strides), weights[-1][0].shape[-1])
            assert_same_bits(y.reshape(expected(x, weights).shape), expected(x, weights),
                             f"{name} on {isa}")  # fmt: skip


def depthwise(x, expand, window, sums_rows):
    groups = window.shape[-1]
    spec = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), groups, None)
    double = compile_elementwise(lambda y: jnp.clip(y, -9, 9) * 2, (*x.shape[:-1], groups))
    parts = Part(PIXEL, RELU), Part(spec, double)
    arrays = [
        PartArrays(ffi.pack(w, part.spec), w, *np.ones((2, groups), np.float32), ())
        for w, part in zip((expand, window), parts, strict=True)
    ]
    return kernel.cascade_on_cpu(x, *arrays, static=Cascade(parts, sums_rows=sums_rows))


def test_sums_of_rows():
    """They are those of the images beside them, which have the bits that they have alone."""
    arrays = {
        name: [integers(0, b, h, w, i), integers(1, 1, 1, i, o), integers(2, 3, 3, 1, o)]
        for name, (b, h, w, i, o) in ROWS.items()
    }

    def all_of_them():
        return {
            name: [depthwise(*each, sums_rows) for sums_rows in (True, False)]
            for name, each in arrays.items()
        }

    for isa, found in jax.jit(lambda: on_every_isa(all_of_them))().items():
        for name, ((y, sums), (alone,)) in found.items():
            assert_same_bits(np.asarray(y), np.asarray(alone), f"{name} on {isa}")
            assert_same_bits(np.asarray(sums), np.asarray(y).sum(2), f"rows of {name} on {isa}")


def test_transformations():
    """The values and cotangents of the reference, of a batch of batches too."""
    x, weights = integers(0, 2, 3, 5, 4, 9), layers(9, (6, 9))

    def both(call):
        def function(x, weights):
            y, pull = jax.vjp(functools.partial(squeeze, spec=PIXEL, call=call), x, weights)
            return y, pull(y)

        return jax.vmap(function, (0, None))

    def on_reference(x, *arrays, static):
        return kernel.plain(static, x, *arrays)

    ours, theirs = jax.jit(lambda *args: [both(c)(*args) for c in (kernel.cascade, on_reference)])(
        x, weights
    )
    jax.tree.map(agreement.assert_identical, ours, theirs)


def test_forward_mode_is_refused():
    x, weights = integers(0, 1, 2, 2, 4), layers(4, (3,))
    with pytest.raises(TypeError, match="forward mode"):
        jax.jvp(lambda x: squeeze(x, weights, PIXEL), (x,), (x,))


def test_what_is_left_as_it_is():
    """Without an epilogue, a squeeze of one layer is a product of matrices."""
    x, w = integers(0, 2, 3, 3, 8), integers(1, 1, 1, 8, 5)
    ones = np.ones(5, np.float32)
    arrays = PartArrays(ffi.pack(w, PIXEL), w, ones, 0 * ones, ())
    (y,) = kernel.cascade_on_cpu(x, arrays, static=Cascade((Part(PIXEL, IDENTITY),), squeeze=True))
    agreement.assert_identical(np.asarray(y)[:, 0, 0], x.sum((1, 2)) @ w[0, 0])
