"""What ``fuse`` puts together and what it must not: the table of ``explain``, values, gradients."""

import re

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_array_equal

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, halved, table
from sampling import long_but
from two_devices import BATCH, mesh


def channels_first(x):
    order = ("NCHW", "OIHW", "NCHW")
    y = conv(x.transpose(0, 3, 1, 2), KERNEL.transpose(3, 2, 0, 1), dimension_numbers=order)
    return jax.nn.relu(y * A[:, None, None] + B[:, None, None]).transpose(0, 2, 3, 1)


def used_twice(x):
    y = conv(x) * A
    return jax.nn.relu(y + B), y


def statistics_of_the_batch(x):
    y = conv(x) + B
    return (y - y.mean((0, 1, 2))) / jnp.sqrt(y.var((0, 1, 2)) + 1e-5) * A


def two_projections(x):
    return jax.nn.relu((conv(x) + B) + (conv(x, KERNEL[:1, :1]) * A))


@jax.custom_jvp
def leaky_gradient(x):
    return jnp.maximum(x, 0)


leaky_gradient.defjvp(lambda x, t: (leaky_gradient(*x), t[0] * jnp.where(x[0] > 0, 1, 0.1)))

# The "fused" column, a row for each convolution.
CHAINS = {
    "convolution alone": (conv, ["-"]),
    "bias": (lambda x: conv(x) + B, ["bias"]),
    "bias that comes first": (lambda x: B + conv(x), ["bias"]),
    "scale": (lambda x: conv(x) * 3, ["scale"]),
    "negative": (lambda x: B - conv(x), ["bias"]),
    "division": (lambda x: -conv(x) / A - B, ["bn"]),
    "relu": (lambda x: jax.nn.relu(conv(x)), ["relu"]),
    "maximum": (lambda x: jnp.maximum(conv(x), 0), ["relu"]),
    "maximum the other way": (lambda x: jnp.maximum(0.0, conv(x) + B), ["bias+relu"]),
    "relu6": (lambda x: jax.nn.relu6(conv(x) * 9), ["scale+relu6"]),
    "residual": (lambda x: jax.nn.relu(x + (conv(x) * A + B)), ["bn+add+relu"]),
    "broadcast constants": (lambda x: conv(x) * jnp.broadcast_to(A, (2, 6, 5, 4)), ["scale"]),
    "two convolutions added": (two_projections, ["bias", "scale+add+relu"]),
    "channels first": (channels_first, ["bn+relu"]),
    "groups": (lambda x: conv(x, KERNEL[:, :, :2], feature_group_count=2) + B, ["bias"]),
    "strides and padding": (lambda x: conv(x, padding=((2, 0), (0, 1)), strides=(2, 1)), ["-"]),
    "calls": (lambda x: jax.jit(jax.nn.relu)(jax.jit(lambda y: y * A)(conv(x))), ["scale+relu"]),
    "weights from weights": (lambda x: conv(x, KERNEL - KERNEL.mean((0, 1, 2))), ["-"]),
    "our own operation": (
        lambda x: resfuse.conv_bn_relu(x, KERNEL.astype(x.dtype), A, B, B, A), ["bn+relu"]
    ),
    "value used twice": (used_twice, ["scale"]),
    "norm of the batch": (statistics_of_the_batch, ["bn(batch)"]),
    "norm over another axis": (lambda x: conv(x) * jnp.arange(1.0, 6)[:, None], ["-"]),
    "norm by pixels": (lambda x: conv(x) * jnp.arange(30.0).reshape(6, 5, 1), ["-"]),
    "addition that broadcasts the chain": (lambda x: conv(x[:1]) + x, ["-"]),
    "addition that broadcasts the other": (lambda x: conv(x) + x[:1], ["-"]),
    "relu before the addition": (lambda x: jax.nn.relu(conv(x)) + x, ["relu+add"]),
    "scale after the addition": (lambda x: (conv(x) + x) * A, ["add+scale"]),
    "two additions": (lambda x: conv(x) + x + 2 * x, ["add+add"]),
    "addition of itself": (lambda x: (lambda y: y + y)(conv(x)), ["add"]),
    "quotient the other way": (lambda x: A / (2 + jnp.tanh(conv(x))), ["tanh+bn"]),
    "relu with another derivative": (lambda x: leaky_gradient(conv(x)), ["relu"]),
    "maximum with another number": (lambda x: jnp.maximum(conv(x), 0.5), ["max"]),
    "no channels left": (lambda x: conv(x).reshape(2, -1) + 1, ["-"]),
}  # fmt: skip

LEFT = {
    "half": (lambda x: conv(x.astype(jnp.bfloat16)), "bfloat16"),
    "mapped by shards": (
        lambda x: jax.shard_map(conv, mesh=mesh(), in_specs=BATCH, out_specs=BATCH)(x),
        "inside shard_map",
    ),
}  # fmt: skip


CASES = {name: cast(function) for name, (function, _) in CHAINS.items()}


KEPT, compared = halved(CASES)


@pytest.mark.parametrize("name", CHAINS)
def test_is_found(name, capsys):
    found, rows, _ = table(capsys, CASES[name], X)
    assert sorted(found) == sorted(CHAINS[name][1])
    assert not any("XLA" in row for row in rows)


@pytest.mark.parametrize("name", long_but(KEPT, CHAINS))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


@pytest.mark.parametrize("name", LEFT)
def test_is_left_to_xla(name, capsys):
    function, reason = LEFT[name]
    _, (row,), summary = table(capsys, function, X)
    assert f"XLA: {reason}" in row
    assert summary.startswith("0 of 1 convolutions")
    agreement.assert_identical(resfuse.fuse(function)(X), jax.jit(function)(X))


# Of both at 0, which is exact: the first derivative has none there, the other a half.
AT_ZERO = {"relu": (jax.nn.relu, 0), "maximum": (lambda y: jnp.maximum(y, 0), 0.5)}


@pytest.mark.parametrize("name", AT_ZERO)
def test_derivative_where_the_result_is_zero(name):
    """With whole numbers for weights, so that every sum is exact in any order."""
    relu, derivative = AT_ZERO[name]
    whole = jnp.round(8 * KERNEL)

    def function(x, relu=relu):
        return relu(conv(x, whole, precision="highest")).sum()

    got = jax.grad(resfuse.fuse(function))(jnp.zeros_like(X))
    everywhere = jax.grad(lambda x: function(x, lambda y: y))(X)
    agreement.assert_identical(got, derivative * everywhere)


def test_no_transpose_between_layers_that_have_channels_first():
    def network(x):
        order, kernel = ("NCHW", "OIHW", "NCHW"), KERNEL.transpose(3, 2, 0, 1)
        for _ in range(3):
            y = jax.vmap(lambda x: conv(x[None], kernel, dimension_numbers=order)[0])(x)
            x = jax.nn.relu(y * A[:, None, None] + x)
        return x

    program = jax.jit(resfuse.fuse(network)).lower(X.transpose(0, 3, 1, 2)).compile().as_text()
    entry = program[program.index("ENTRY") :]
    assert entry.count("resfuse_conv_affine") == 3
    assert len(re.findall(r"^ +(?:ROOT )?%\w*transpose\S* = ", entry, re.MULTILINE)) == 2, entry


@pytest.mark.parametrize("scaled", [lambda y: y / 0.0, lambda y: -y * jnp.inf])
def test_a_scale_that_is_not_finite_makes_no_other_numbers(scaled):
    """As a shift of 0 times infinity would, which is none."""
    assert_array_equal(resfuse.fuse(lambda x: scaled(conv(x)))(X), scaled(conv(X)))
