"""Shapes and values at the edges: nothing, one, primes, more than 2^31, NaN and denormals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import resfuse
from agreement import assert_as_accurate, assert_identical
from cases import OPS, call, expected, problem

SHAPES = {
    "one pixel": {"x": (2, 1, 1, 4)},
    "one channel": {"x": (2, 6, 5, 1), "kernel": (3, 3, 1, 1)},
    "one of everything": {"x": (1, 1, 1, 1), "kernel": (1, 1, 1, 1)},
    "primes": {"x": (3, 7, 5, 13), "kernel": (3, 5, 13, 37)},
    "prime groups": {"x": (2, 5, 4, 33), "kernel": (3, 3, 3, 55), "feature_group_count": 11},
    "kernel over the image": {"x": (2, 2, 3, 4), "kernel": (7, 9, 4, 6)},
    "stride over the image": {"strides": (9, 7)},
    "only padding": {"x": (1, 1, 1, 2), "kernel": (2, 2, 2, 3), "padding": ((5, 4), (3, 6))},
}
EMPTY = {
    "batch": {"x": (0, 6, 5, 4)},
    "kernel over the image": {"x": (2, 2, 3, 4), "kernel": (3, 3, 4, 6), "padding": "VALID"},
    "width": {"x": (2, 6, 2, 4), "kernel": (3, 3, 4, 6), "padding": "VALID"},
}
TINY = np.finfo(np.float32).tiny  # below it, XLA flushes to zero; the kernel may not


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_small_shapes(op, case):
    options = {name: value for name, value in case.items() if name not in ("x", "kernel")}
    arrays = problem(op, **case)
    exact, bound = expected(arrays, **options)
    got = call(op, arrays, "ffi", **options)
    if op == "inference":
        assert (np.abs(got - exact[0]) <= bound).all()
    else:
        assert_as_accurate(got, call(op, arrays, "xla", **options), exact)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", EMPTY.values(), ids=EMPTY)
def test_empty_outputs(op, case):
    """The statistics of nothing are NaN; gradients of each output are empty, zero, or NaN."""
    options = {name: value for name, value in case.items() if name == "padding"}
    arrays = problem(op, **case)
    ours, theirs = (call(op, arrays, which, **options) for which in ("ffi", "xla"))
    assert jax.tree.leaves(ours)[0].size == 0
    assert_identical(ours, theirs)

    def gradients(implementation):
        def of(index):
            output = lambda a: jax.tree.leaves(call(op, a, implementation, **options))[index]  # noqa: E731
            return jax.grad(lambda arrays: output(arrays).sum())

        return jax.jit(lambda arrays: [of(i)(arrays) for i in range(len(jax.tree.leaves(ours)))])

    assert_identical(gradients("ffi")(arrays), gradients("xla")(arrays))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(2, 0, 5, 4), (2, 6, 0, 4)], ids=str)
def test_empty_images_take_the_reference(op, shape):
    arrays = problem(op, x=shape, without=("residual",)) | {"kernel": jnp.ones((1, 1, 4, 6))}
    assert_identical(call(op, arrays), call(op, arrays, "xla"))
    with pytest.raises(ValueError, match="is empty"):
        call(op, arrays, "ffi")


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40], ids=str)
@pytest.mark.parametrize("where", ["x", "kernel", "residual"])
def test_special_values(op, value, where):
    """They reach the same pixels and channels as in the reference; groups keep half of them."""
    arrays = problem(op, kernel=(3, 3, 2, 6), feature_group_count=2)
    arrays[where] = arrays[where].at[(0, 1, 1, 0)].set(value)
    options = {"feature_group_count": 2, "precision": "highest"}
    ours, theirs = (jax.tree.leaves(call(op, arrays, i, **options)) for i in ("ffi", "xla"))
    for got, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40], ids=str)
@pytest.mark.parametrize("relu", [True, False])
def test_special_values_pass_a_convolution_by_one(value, relu):
    """Nothing but ``x``: ReLU of NaN is NaN, and only a denormal may become zero."""
    x = jnp.full((1, 2, 2, 1), value)
    one, zero = jnp.ones(1), jnp.zeros(1)
    y = resfuse.conv_bn_relu(
        x, jnp.ones((1, 1, 1, 1)), None, None, zero, one, epsilon=0.0, relu=relu,
        implementation="ffi",
    )  # fmt: skip
    np.testing.assert_allclose(y, np.maximum(x, 0) if relu else x, rtol=0, atol=TINY)


def test_more_than_2_to_the_31_numbers_in():
    """Nearly all of them zeros that no one writes: the system lends one page for them all."""
    images, last = 2**15 + 1, slice(-2, None)
    memory = np.zeros(images * 16 * 16 * 256 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4  # aligned, JAX takes the memory as it is
    x = memory[start : start - 16 or None].reshape(images, 16, 16, 256)
    x[last] = np.random.default_rng(0).normal(size=(2, 16, 16, 256))
    arrays = problem(x=(2, 16, 16, 256), kernel=(1, 1, 256, 8), strides=16, without=("residual",))
    arrays["x"] = x[last]
    exact, bound = expected(arrays, strides=16)
    y = call("inference", arrays | {"x": jax.device_put(x, may_alias=True)}, "ffi", strides=16)
    assert x.size > 2**31
    assert (np.abs(y[last] - exact[0]) <= bound).all()
    assert (y[:-2] == y[0]).all()


@pytest.mark.long
def test_more_than_2_to_the_31_bytes_out():
    """Two gigabytes, which take longer to write than most tests do."""
    arrays = problem(x=(1, 9, 9, 1), kernel=(1, 1, 1, 64), without=("residual",))
    arrays["x"] = jnp.tile(arrays["x"], (33, 57, 57, 1))
    y = call("inference", arrays, "ffi")
    assert y.nbytes > 2**31
    exact, bound = expected(arrays | {"x": arrays["x"][-1:, -9:]})
    assert (np.abs(y[-1:, -9:] - exact[0]) <= bound).all()
