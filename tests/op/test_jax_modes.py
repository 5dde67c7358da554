"""JAX's own modes: the op, its gradients, pooling and ``vmap`` mean the same under each.

``conftest.py`` sets strict promotion of dtypes for all tests.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.experimental import checkify

import agreement
import resfuse.linen
import resfuse.nnx
from agreement import assert_near, in_float64
from cases import OPS, call, problem
from kernel_case import Case, normals
from resfuse import d2l
from resfuse.kernel.pool import max_pool

# Modes of tracing: the program is the same.
TRACING = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "standard promotion": lambda: jax.numpy_dtype_promotion("standard"),
    "leaks": jax.checking_leaks,
    "checks": lambda: jax.enable_checks(True),
}


@contextlib.contextmanager
def watched():
    """Three modes that only watch a program run."""
    with jax.debug_nans(True), jax.debug_infs(True), jax.transfer_guard("disallow"):
        yield


# Modes of running.
RUNNING = {"x64": lambda: jax.enable_x64(True), "watched": watched, "no jit": jax.disable_jit}


def squares(tree):
    """The sum of squares of all leaves, without the transfer of a zero to begin with."""
    return functools.reduce(jnp.add, (jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def everything(implementation):
    """One program: values, gradients by every argument, pooling, ``vmap``."""

    def loss(op):
        return lambda arrays: squares(call(op, arrays, implementation))

    def dilated(arrays):
        options = {"kernel_dilation": 2, "activation": jax.nn.silu}
        return call("inference", arrays, implementation, **options)

    def pooled(x):
        return max_pool(x, (3, 2), (2, 1), ((1, 1), (0, 1)), implementation)

    def function(arrays):
        training = {name: array for name, array in arrays.items() if name not in ("mean", "var")}
        one = lambda x: call("inference", arrays | {"x": x}, implementation)  # noqa: E731
        return {
            "inference": call("inference", arrays, implementation),
            "training": call("training", training, implementation),
            "pool": pooled(arrays["x"]),
            "dilated": dilated(arrays),
            "dilated's gradients": jax.grad(lambda a: squares(dilated(a)))(arrays),
            "gradients": jax.grad(loss("inference"))(arrays),
            "training's gradients": jax.grad(loss("training"))(training),
            "pool's gradient": jax.grad(lambda x: squares(pooled(x)))(arrays["x"]),
            "vmap": jax.vmap(one)(jnp.stack([arrays["x"], -arrays["x"]])),
        }

    return function


def arrays():
    return problem(x=(2, 4, 3, 2), kernel=(3, 3, 2, 3))


@functools.cache
def exact():
    """The reference's results in float64."""
    return in_float64(jax.jit(everything("xla")), arrays())


def check(got):
    """Each result by itself: its size is its own."""
    for name, result in got.items():
        assert_near(result, exact()[name])


@functools.cache
def program():
    """What is compiled without any mode; the tests of the op hold that against the reference."""
    return jax.jit(everything(None)).lower(arrays()).as_text()


@pytest.mark.parametrize("mode", TRACING.values(), ids=TRACING)
def test_modes_of_tracing(mode):
    given, function = arrays(), everything(None)
    with mode():
        lowered = jax.jit(function).lower(given)
    assert lowered.as_text() == program()


@pytest.mark.parametrize("op", OPS)
def test_second_derivatives(op):
    """Which JAX takes long to trace: without promotion of ranks, and in x64 all in float32."""
    given = problem(op)

    def first(arrays):
        return squares(jax.grad(lambda a: squares(call(op, a)))(arrays))

    with jax.numpy_rank_promotion("raise"), jax.enable_x64(True):
        text = jax.jit(jax.grad(first)).lower(given).as_text()
    assert "custom_call @resfuse" in text
    assert "f64" not in text


@pytest.mark.parametrize("op", OPS)
def test_the_reference_without_rank_promotion(op):
    given = problem(op)
    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(lambda a: jax.grad(lambda a: squares(call(op, a, "xla")))(a), given)


@pytest.mark.parametrize("mode", RUNNING.values(), ids=RUNNING)
def test_modes_of_running(mode):
    given, function = arrays(), everything(None)
    exact()  # without the mode
    with mode():
        got = jax.block_until_ready(jax.jit(function)(given))
    check(got)


def test_checkify():
    checked = checkify.checkify(everything(None), checkify.all_checks)
    error, got = jax.jit(checked)(arrays())
    error.throw()
    check(got)


def test_nan_is_found():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        call("inference", arrays() | {"bias": jnp.full(3, jnp.nan)})


@pytest.mark.parametrize("op", OPS)
def test_float64_takes_the_reference(op):
    with jax.enable_x64(True):
        given = jax.tree.map(lambda array: array.astype(jnp.float64), problem(op))
        ours, reference = (
            jax.jit(jax.grad(lambda a, i=i: squares(call(op, a, i))))(given) for i in (None, "xla")
        )
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(ours))
    agreement.assert_identical(ours, reference)


def flax_layers():
    conv = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    return conv, nnx.BatchNorm(4, rngs=nnx.Rngs(0))


class Layer(linen.Module):
    """Linen's convolution, batch norm and ReLU as one, see ``resfuse.linen``."""

    training: bool

    @linen.compact
    def __call__(self, x):
        conv, bn = linen.Conv(4, (3, 3)), linen.BatchNorm()
        return resfuse.linen.conv_bn_relu(conv, bn, x, use_running_average=not self.training)


def initialized(model, x):
    """A Linen model's answer in training, with the statistics that it would keep."""
    variables = agreement.trained(model, x)
    return model.apply(variables, x, mutable=["batch_stats"])


MODULES = {
    "NNX": lambda x: resfuse.nnx.conv_bn_relu(*flax_layers(), x, use_running_average=True),
    "NNX in training": lambda x: resfuse.nnx.conv_bn_relu(
        *flax_layers(), x, use_running_average=False
    ),
    "Linen": lambda x: Layer(False).apply(agreement.trained(Layer(False), x), x),
    "Linen in training": lambda x: initialized(Layer(True), x),
    "the book's": lambda x: initialized(d2l.Residual(3, training=True), x),
}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_modules(module):
    """Types are enough: what the layers add to the op works element by element."""
    x = agreement.images(2, 4, 3, 3)
    expected = jax.eval_shape(module, x)
    for mode in (TRACING["rank promotion"], RUNNING["x64"]):
        with mode():
            assert jax.eval_shape(module, x) == expected


# On every instruction set Winograd's by default.
WINOGRAD = Case(2, (12, 12), (32, 32), (3, 3), padding=((1, 1), (1, 1)), residual=False)


def affine(precision=None):
    x, kernel, scale, shift = normals(WINOGRAD)
    ones = np.ones_like(scale)
    return resfuse.conv_bn_relu(
        x, kernel, scale, shift, np.zeros_like(scale), ones, precision=precision
    )


@pytest.mark.parametrize(
    ("default", "is_direct"),
    [
        ("default", False),
        ("bfloat16", False),
        ("high", True),
        ("tensorfloat32", True),
        ("highest", True),
        ("float32", True),
        ("F32_F32_F32", True),
    ],
)
def test_default_precision(default, is_direct):
    """A default is what an argument would be, and no program of another default is used."""
    function = jax.jit(lambda: affine())
    winograd, direct = np.asarray(function()), np.asarray(affine("highest"))
    assert (winograd != direct).any()
    with jax.default_matmul_precision(default):
        got, insisting = function(), affine("default")
    np.testing.assert_array_equal(got, direct if is_direct else winograd)
    np.testing.assert_array_equal(insisting, winograd)
    np.testing.assert_array_equal(function(), winograd)


def test_default_precision_of_modules():
    def layer():
        conv, bn = nnx.Conv(32, 32, (3, 3), rngs=nnx.Rngs(0)), nnx.BatchNorm(32, rngs=nnx.Rngs(0))
        x = normals(WINOGRAD)[0]
        return np.asarray(resfuse.nnx.conv_bn_relu(conv, bn, x, use_running_average=True))

    winograd = layer()
    with jax.default_matmul_precision("highest"):
        direct = layer()
    assert (winograd != direct).any()
    np.testing.assert_allclose(winograd, direct, rtol=1e-3, atol=1e-4)


def test_a_precision_in_the_backward_pass():
    """It is that of the forward pass, wherever the backward one is traced."""
    x, kernel, *_ = normals(WINOGRAD)
    ones, zeros = np.ones(32, np.float32), np.zeros(32, np.float32)

    def gradient(context):
        with context:
            op = lambda x: resfuse.conv_bn_relu(x, kernel, ones, zeros, zeros, ones)  # noqa: E731
            y, pull = jax.vjp(op, x)
        return np.asarray(pull(y)[0])

    highest = gradient(jax.default_matmul_precision("highest"))
    default = gradient(contextlib.nullcontext())
    assert (highest != default).any()
    np.testing.assert_allclose(highest, default, rtol=1e-3, atol=1e-3)
