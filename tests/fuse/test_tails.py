"""What follows a convolution element by element: all of it in one call, whoever wrote it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, explained, halved, program_of
from sampling import long_but

SLOPES = jnp.asarray([0.1, 0.3, 0.2, 0.7])


def prelu(y, slopes=SLOPES):
    return jnp.where(y >= 0, y, slopes * y)


def gelu_by_hand(y):
    return 0.5 * y * (1 + lax.erf(y / np.sqrt(2).astype(np.float32)))


# The activations of the libraries. Flax, Haiku, Equinox and Keras take most from jax.nn.
ACTIVATIONS = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "clip": lambda y: jnp.clip(y, 0.1, 0.6),
    "clamp": lambda y: lax.clamp(jnp.asarray(-0.2, y.dtype), y, jnp.asarray(0.4, y.dtype)),
    "relu with a threshold, as in Keras": lambda y: y * (y > 0.3).astype(y.dtype),
    "leaky relu": nn.leaky_relu,
    "leaky relu as a maximum": lambda y: jnp.maximum(y, 0.2 * y),
    "prelu": prelu,
    "prelu, as in Keras": lambda y: nn.relu(y) - SLOPES * nn.relu(-y),
    "elu": nn.elu,
    "celu": nn.celu,
    "selu": nn.selu,
    "silu": nn.silu,
    "swish by hand": lambda y: y / (1 + jnp.exp(-y)),
    "hard swish": nn.hard_swish,
    "hard swish by hand": lambda y: y * jnp.clip(y + 3, 0, 6) / 6,
    "hard sigmoid": nn.hard_sigmoid,
    "sigmoid": nn.sigmoid,
    "log sigmoid": nn.log_sigmoid,
    "tanh": jnp.tanh,
    "hard tanh": nn.hard_tanh,
    "gelu": nn.gelu,
    "gelu, exact": functools.partial(nn.gelu, approximate=False),
    "gelu by hand": gelu_by_hand,
    "quick gelu": lambda y: y * nn.sigmoid(1.702 * y),
    "softplus": nn.softplus,
    "mish": nn.mish,
    "squareplus": nn.squareplus,
    "soft sign": nn.soft_sign,
    "squared relu": lambda y: jnp.square(nn.relu(y)),
    "abs": jnp.abs,
    "where": lambda y: jnp.where(y > 0.2, y, -1.0),
    "powers": lambda y: y**3 - 2 * y**2 + y,
}


def channels_first(function, x):
    """The same with channels before pixels."""
    y = conv(x.transpose(0, 3, 1, 2), KERNEL.transpose(3, 2, 0, 1),
             dimension_numbers=("NCHW", "OIHW", "NCHW"))  # fmt: skip
    return function(y * A[:, None, None] + B[:, None, None]).transpose(0, 2, 3, 1)


def gated(x):
    gate = nn.sigmoid(x.mean((1, 2)))
    return nn.silu(conv(x)) * gate[:, None, None, :]


def gated_with_channels_first(x):
    y = conv(x.transpose(0, 3, 1, 2), KERNEL.transpose(3, 2, 0, 1),
             dimension_numbers=("NCHW", "OIHW", "NCHW"))  # fmt: skip
    return nn.silu(y) * x.mean((1, 2))[:, :, None, None]


def flattened(x):
    y = conv(x).reshape(2, 30, 4)
    return (nn.silu(y) + x.reshape(2, 30, 4)).reshape(2, 3, 10, 4)


def one_image_at_a_time(x):
    def layer(x):
        y = conv(x[None])[0]
        return nn.silu(y * A) * x.mean((0, 1)) + x

    return jax.vmap(layer)(x)


# What else is read: numbers, numbers per channel, numbers per image and channel, tensors.
OPERANDS = {
    "residual before": lambda x: nn.silu(conv(x) * A + x),
    "residual after": lambda x: nn.silu(conv(x) * A + B) + x,
    "scaled residual": lambda x: x + 0.2 * jnp.tanh(conv(x) + x * x),
    "two tensors": lambda x: nn.sigmoid(conv(x) + jnp.sin(x)) * jnp.cos(x) - x,
    "channels behind a tensor": lambda x: nn.relu((conv(x) + x - B) * (A / 2) + SLOPES),
    "a number that is computed": lambda x: jnp.maximum(conv(x), 0.1 * x.mean()),
    "gate": gated,
    "gate with channels first": gated_with_channels_first,
    "flattened": flattened,
    "one image at a time": one_image_at_a_time,
    "prelu with channels first": functools.partial(
        channels_first, functools.partial(prelu, slopes=SLOPES[:, None, None])
    ),
    "mish with channels first": functools.partial(channels_first, nn.mish),
}

WHOLE = {
    name: cast(function)
    for name, function in {
        **{name: lambda x, f=f: f(4 * (conv(x) * A + B - 0.5)) for name, f in ACTIVATIONS.items()},
        **OPERANDS,
    }.items()
}


KEPT, compared = halved(WHOLE)


def chains(function, *args):
    program = program_of(resfuse.fuse(function), *args)
    return program.chains, program.graph


@pytest.mark.parametrize("name", WHOLE)
def test_one_call_computes_it_all(name, capsys):
    (chain,), graph = chains(WHOLE[name], X)
    ends = [value for value in graph.outputs if value not in chain.outputs]
    moves = {"transpose", "reshape"}
    assert all(value.producer.name in moves for value in ends)
    assert explained(capsys, WHOLE[name], X)[1] == []


@pytest.mark.parametrize("name", long_but(KEPT, WHOLE))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


# Where two cases of the function meet.
TIES = {
    "relu": (nn.relu, 0),
    "maximum": (lambda y: jnp.maximum(y, 0), 0),
    "maximum the other way": (lambda y: jnp.maximum(0, y), 0),
    "relu6 below": (nn.relu6, 0),
    "relu6 above": (nn.relu6, 6),
    "clip below": (lambda y: jnp.clip(y, -1, 2), -1),
    "clip above": (lambda y: jnp.clip(y, -1, 2), 2),
    "clamp": (lambda y: lax.clamp(-1.0, y, 2.0), 2),
    "leaky relu": (lambda y: nn.leaky_relu(y, 0.25), 0),
    "leaky relu with gt": (lambda y: jnp.where(y > 0, y, y / 4), 0),
    "negative slope": (lambda y: jnp.where(y > 0, y, -y / 4), 0),
    "abs": (jnp.abs, 0),
    "hard tanh": (nn.hard_tanh, 1),
    "squared": (lambda y: jnp.square(nn.relu(y)), 0),
    "two in a row": (lambda y: jnp.maximum(nn.relu(y), 0), 0),
}


def added_up(x, activation, tie):
    """With whole numbers for weights, so that every sum is exact in any order."""
    return activation(conv(x, jnp.round(8 * KERNEL), precision="highest") + tie).sum()


@functools.cache
def derivatives_at_ties():
    """Of the fused functions, of all activations, and of the convolution alone."""

    def fused(activation, tie):
        return resfuse.fuse(functools.partial(added_up, activation=activation, tie=tie))

    @jax.jit
    def every(x):
        ours = {name: jax.grad(fused(*case))(x) for name, case in TIES.items()}
        slopes = {name: jax.grad(f)(float(tie)) for name, (f, tie) in TIES.items()}
        return ours, slopes, jax.grad(functools.partial(added_up, activation=lambda y: y, tie=0))(x)

    return every(jnp.zeros_like(X))


@pytest.mark.parametrize("name", TIES)
def test_derivative_where_two_cases_meet(name):
    ours, slopes, everywhere = derivatives_at_ties()
    agreement.assert_identical(ours[name], slopes[name] * everywhere)


def test_examples_that_share_the_images_or_an_operand():
    def function(x, slopes):
        return prelu(conv(x), slopes) * jnp.tanh(x)

    function, slopes = cast(function), jnp.stack([SLOPES, 2 * SLOPES])
    for axes, args in {(0, None): (jnp.stack([X, 2 * X]), SLOPES), (None, 0): (X, slopes)}.items():
        got = jax.jit(jax.vmap(resfuse.fuse(function), axes))(*args)
        agreement.assert_near(got, agreement.in_float64(jax.vmap(function, axes), *args))


def test_second_derivatives():
    function = cast(lambda x: jnp.sin(nn.silu(conv(x) * A + B)).sum())

    def gradient_of_gradient(function):
        return jax.jit(jax.grad(lambda x: jnp.square(jax.grad(function)(x)).sum()))

    got = gradient_of_gradient(resfuse.fuse(function))(X)
    agreement.assert_near(got, agreement.in_float64(gradient_of_gradient(function), X))
