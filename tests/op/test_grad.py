"""Gradients by every argument, as accurate as the reference's; float64 is the judge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import ACCURACY, EPSILON, assert_near, in_float64
from cases import OPS, call, kernel_calls, problem

CASES = {
    "geometry": {
        "kernel": (3, 2, 2, 6),
        "feature_group_count": 2,
        "strides": 2,
        "padding": ((0, 1), (2, 1)),
    },
    "bare": {
        "x": (6, 5, 4),
        "without": ("scale", "bias", "conv_bias", "residual"),
        "relu": False,
    },
}
# Where training's own gradients take another way.
TRAINING = {
    "strided 1x1": {
        "kernel": (1, 1, 4, 6), "strides": 2, "padding": "VALID", "without": ("residual",),
    },
    "stride 3": {"x": (2, 8, 7, 4), "strides": 3, "relu": False},
    "narrow groups": {"x": (2, 5, 4, 8), "kernel": (3, 3, 2, 8), "feature_group_count": 4},
}  # fmt: skip


def loss(op, implementation="ffi", **options):
    """Of all outputs, each in its own way: in training mode their sum is constant."""

    def function(arrays):
        outputs = jax.tree.leaves(call(op, arrays, implementation, **options))
        angles = (jnp.linspace(0, 3, y.size, dtype=y.dtype).reshape(y.shape) for y in outputs)
        return sum(jnp.sum(jnp.sin(y + a)) for y, a in zip(outputs, angles, strict=True))

    return function


def compare(function, arrays):
    """Holds ``function("ffi")`` of the arrays against ``function("xla")`` in float64."""
    ours, reference = (jax.jit(function(implementation)) for implementation in ("ffi", "xla"))
    assert_near(ours(arrays), in_float64(reference, arrays))


@functools.cache
def exact_gradient(op):
    """Of the plain problem's loss, in float64."""
    return in_float64(jax.jit(jax.grad(loss(op, "xla"))), problem(op))


def check(transform, op, cases):
    """Likewise ``transform`` of each case's loss: one program for all, so as to compile fast.

    Each with its own scale: the gradient by a kernel of one may be far larger than another's.
    """
    geometries = {"strides", "padding", "feature_group_count"}
    shapes = {"x", "kernel", "without"} | geometries
    arrays = {
        name: problem(op, **{k: v for k, v in case.items() if k in shapes})
        for name, case in cases.items()
    }

    def function(implementation):
        functions = {
            name: transform(
                loss(op, implementation, **{k: case[k] for k in {"relu"} | geometries if k in case})
            )
            for name, case in cases.items()
        }
        return lambda arrays: {name: functions[name](arrays[name]) for name in cases}

    ours, reference = (jax.jit(function(implementation)) for implementation in ("ffi", "xla"))
    got, exact = ours(arrays), in_float64(reference, arrays)
    for name in cases:
        assert_near(got[name], exact[name])


@pytest.mark.parametrize("op", OPS)
def test_by_every_argument(op):
    check(jax.grad, op, CASES | (TRAINING if op == "training" else {}))


def test_of_one_output():
    """The cotangents of the others are zeros that nobody computes."""

    def gradients(implementation):
        def of(output):
            return jax.grad(
                lambda arrays: jnp.sum(jnp.sin(call("training", arrays, implementation)[output]))
            )

        return lambda arrays: [of(output)(arrays) for output in range(3)]

    compare(gradients, problem("training"))


def test_by_all_after_by_weights_alone():
    """JAX keeps the traces of both for one jitted function."""
    arrays, function = problem("training"), jax.jit(loss("training"))
    function(arrays)
    first = jax.grad(function)(arrays)
    jax.grad(lambda kernel: function(arrays | {"kernel": kernel}))(arrays["kernel"])
    np.testing.assert_array_equal(jax.jit(jax.grad(function))(arrays)["x"], first["x"])


@pytest.mark.parametrize("op", OPS)
def test_by_weights_alone(op):
    """As in a network's first layer, where no time goes into the images' gradient."""
    arrays = problem(op)
    weights = {name: array for name, array in arrays.items() if name not in ("x", "residual")}
    by_weights = jax.jit(jax.grad(lambda weights: loss(op)(arrays | weights)))
    by_all = jax.jit(jax.grad(loss(op)))(arrays)
    assert_near(by_all, exact_gradient(op))
    jax.tree.map(
        np.testing.assert_array_equal, by_weights(weights), {name: by_all[name] for name in weights}
    )
    names = [name for name, _ in kernel_calls(by_weights, weights)]
    assert "resfuse_conv_weight_gradient" in names
    assert not {"resfuse_conv_input_gradient", "resfuse_conv_gradients"} & {*names}


def test_means_far_from_zero():
    """A thousand deviations: errors are those of the deviations, not of their squares."""
    ratio = 1000
    arrays = problem("training", x=(2, 8, 8, 4), without=("conv_bias", "residual"))
    arrays["x"] = (arrays["x"] + ratio).at[..., 1:].set(0)
    ours, theirs = (jax.grad(loss("training", i, padding="VALID")) for i in ("ffi", "xla"))
    exact = in_float64(jax.jit(theirs), arrays)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(exact))
    for got, value in zip(
        jax.tree.leaves(jax.jit(ours)(arrays)), jax.tree.leaves(exact), strict=True
    ):
        assert np.abs(got - value).max() <= ACCURACY * ratio * EPSILON * scale


@pytest.mark.parametrize("op", OPS)
def test_grad_of_grad(op):
    """Of the squared norm of the gradient, by every argument again."""

    def squared_norm(f):
        return lambda arrays: sum(jnp.sum(g * g) for g in jax.tree.leaves(jax.grad(f)(arrays)))

    check(lambda f: jax.grad(squared_norm(f)), op, {"small": {"x": (2, 4, 3, 4)}})


@pytest.mark.parametrize("op", OPS)
def test_checkpoint(op):
    gradient = jax.jit(jax.grad(jax.checkpoint(loss(op))))
    assert_near(gradient(problem(op)), exact_gradient(op))


def test_scan():
    """Three layers that share all but their scale."""

    def layers(arrays, implementation):
        def layer(x, scale):
            call_arrays = arrays | {"x": x, "scale": scale}
            return call("training", call_arrays, implementation)[0], None

        scales = arrays["scale"] * jnp.arange(1, 4, dtype=arrays["x"].dtype)[:, None]
        return jnp.sum(jax.lax.scan(layer, arrays["x"], scales)[0] ** 2)

    def gradient(implementation):
        return jax.grad(lambda arrays: layers(arrays, implementation))

    compare(gradient, problem("training", kernel=(3, 3, 4, 4)))


def test_relu_at_zero():
    """Every output is exactly 0, where JAX defines the derivative of ReLU as 0."""
    arrays = problem(without=("conv_bias", "residual"))
    arrays |= {name: jnp.zeros_like(arrays[name]) for name in ("x", "mean", "bias")}
    gradients = jax.grad(lambda arrays: jnp.sum(call("inference", arrays, "ffi")))(arrays)
    assert not any(jnp.any(gradient) for gradient in jax.tree.leaves(gradients))
