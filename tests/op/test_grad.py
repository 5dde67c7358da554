"""Gradients by every argument, as accurate as the reference's; float64 is the judge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import ACCURACY, EPSILON, assert_as_accurate, in_float64
from cases import OPS, call, kernel_calls, problem

CASES = {
    "plain": {},
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
    """Of all outputs, each with another weight: in training mode their sum is constant."""

    def function(arrays):
        outputs = jax.tree.leaves(call(op, arrays, implementation, **options))
        weights = (jnp.arange(y.size, dtype=y.dtype).reshape(y.shape) for y in outputs)
        return sum(jnp.sum(jnp.sin(y + w)) for y, w in zip(outputs, weights, strict=True))

    return function


def check(transform, op, case):
    """Holds ``transform`` of the loss, a function of the arrays, against the reference's."""
    options = {k: v for k, v in case.items() if k not in ("x", "kernel", "without")}
    arrays = problem(op, **{name: value for name, value in case.items() if name != "relu"})
    ours, theirs = (jax.jit(transform(loss(op, i, **options))) for i in ("ffi", "xla"))
    assert_as_accurate(ours(arrays), theirs(arrays), in_float64(theirs, arrays))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_by_every_argument(op, case):
    check(jax.grad, op, case)


@pytest.mark.parametrize("case", TRAINING.values(), ids=TRAINING)
def test_training_by_every_argument(case):
    check(jax.grad, "training", case)


def test_of_one_output():
    """The cotangents of the others are zeros that nobody computes."""

    def gradients(implementation):
        def of(output):
            return jax.grad(
                lambda arrays: jnp.sum(jnp.sin(call("training", arrays, implementation)[output]))
            )

        return jax.jit(lambda arrays: [of(output)(arrays) for output in range(3)])

    arrays, theirs = problem("training"), gradients("xla")
    assert_as_accurate(gradients("ffi")(arrays), theirs(arrays), in_float64(theirs, arrays))


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

    check(lambda f: jax.grad(squared_norm(f)), op, {"x": (2, 4, 3, 4)})


@pytest.mark.parametrize("op", OPS)
def test_checkpoint(op):
    arrays = problem(op)
    plain, again = (jax.jit(jax.grad(f))(arrays) for f in (loss(op), jax.checkpoint(loss(op))))
    exact = in_float64(jax.grad(loss(op, "xla")), arrays)
    assert_as_accurate(again, plain, exact)


def test_scan():
    """Three layers that share all but their scale."""

    def layers(arrays, implementation):
        def layer(x, scale):
            call_arrays = arrays | {"x": x, "scale": scale}
            return call("training", call_arrays, implementation)[0], None

        scales = arrays["scale"] * jnp.arange(1, 4, dtype=arrays["x"].dtype)[:, None]
        return jnp.sum(jax.lax.scan(layer, arrays["x"], scales)[0] ** 2)

    arrays = problem("training", kernel=(3, 3, 4, 4))
    ours, theirs = (
        jax.jit(jax.grad(lambda arrays, i=i: layers(arrays, i))) for i in ("ffi", "xla")
    )
    assert_as_accurate(ours(arrays), theirs(arrays), in_float64(theirs, arrays))


def test_relu_at_zero():
    """Every output is exactly 0, where JAX defines the derivative of ReLU as 0."""
    arrays = problem(without=("conv_bias", "residual"))
    arrays |= {name: jnp.zeros_like(arrays[name]) for name in ("x", "mean", "bias")}
    gradients = jax.grad(lambda arrays: jnp.sum(call("inference", arrays, "ffi")))(arrays)
    assert not any(jnp.any(gradient) for gradient in jax.tree.leaves(gradients))
