"""Where a chain ends: values that are needed elsewhere too, limits, and the reasons it gives."""

import jax
import jax.numpy as jnp
import pytest
from jax import nn

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, explained, halved, program_of
from sampling import long_but


def preactivation(x):
    """As in ResNetV2: the sum goes on, and into batch norm, ReLU and the next convolution."""
    y = conv(x) + x
    return conv(nn.relu(y * A + B)) + y


def read_before_the_last(x):
    y = conv(x) + x
    early = jnp.sin(y.sum())
    return conv(nn.silu(y * A + B)) * early


def the_sum_itself_is_the_activation(x):
    y = nn.silu(conv(x))
    return conv(y + x), y


def squeeze_and_excitation(x):
    y = nn.silu(conv(x) * A + B)
    gate = nn.sigmoid(y.mean((1, 2), keepdims=True) @ KERNEL[0, 0])
    return conv(y * gate)


def not_for_a_convolution(x):
    """XLA computes the activation where it sums it up."""
    y = conv(x) + x
    return nn.silu(y).sum(), y


def three_are_needed(x):
    y = conv(x) + B
    z = nn.silu(y)
    return conv(z + x), y, z


def each_needs_the_other(x):
    """The first's second output goes into what the other's call reads, and the other way round."""
    y = conv(x) + x
    z = conv(x, 2 * KERNEL) + y
    return conv(nn.relu(y + z)) + conv(nn.relu(z * A)) + y


def in_a_loop(x):
    return jax.lax.scan(lambda x, _: (preactivation(x) / 4, None), x, length=2)[0]


def layer_norm(x):
    y = conv(x) + B
    y = y - y.mean(-1, keepdims=True)
    return conv(y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + 1e-3))


def long(x):
    y = conv(x)
    for index in range(60):
        y = jnp.abs(y - 0.01 * index)
    return y


def many_tensors(x):
    y = conv(x)
    for index in range(12):
        y = jnp.tanh(y + jnp.sin(index * x))
    return y


# How many images each convolution's call returns.
OUTPUTS = {
    "preactivation": (preactivation, [2, 1]),
    "read before the last": (read_before_the_last, [2, 1]),
    "activation, then sum": (the_sum_itself_is_the_activation, [2, 1]),
    "squeeze and excitation": (squeeze_and_excitation, [1, 1, 1]),
    "not for a convolution": (not_for_a_convolution, [1]),
    "three are needed": (three_are_needed, [1, 1]),
    "each needs the other": (each_needs_the_other, [1, 2, 1, 1]),
    "in a loop": (in_a_loop, [2, 1]),
    "layer norm": (layer_norm, [1, 1]),
    "long": (long, [1]),
    "many tensors": (many_tensors, [1]),
}
CASES = {name: cast(function) for name, (function, _) in OUTPUTS.items()}


KEPT, compared = halved(CASES)


def chains(function):
    return program_of(resfuse.fuse(function), X).chains


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_each_call(name):
    assert [len(chain.results) for chain in chains(CASES[name])] == OUTPUTS[name][1]


@pytest.mark.parametrize("name", long_but(KEPT, OUTPUTS))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


LEFT = {
    "nothing": (lambda x: nn.silu(conv(x) * A + B) + x, []),
    "depends on the result": (squeeze_and_excitation, ["1 mul, as its operands depend"]),
    "used elsewhere": (not_for_a_convolution, ["1 logistic, as a value before it", "1 mul, as"]),
    "by pixels": (lambda x: conv(x) * x[:1], ["1 mul, as an operand of it is broadcast"]),
    "unknown operation": (lambda x: jnp.sin(conv(x)), ["1 sin, as the kernel has no such"]),
    "too long": (long, ["abs, as the kernel has no such operation, or no more room"]),
    "claimed": (lambda x: conv(x) + conv(x, 2 * KERNEL), []),
    "reduced": (lambda x: nn.relu(conv(x)).mean((1, 2)), []),
}


@pytest.mark.parametrize("name", LEFT)
def test_reasons(name, capsys):
    function, reasons = LEFT[name]
    lines = explained(capsys, function, X)[1]
    assert bool(lines) == bool(reasons)
    for reason in reasons:
        assert any(reason in line for line in lines), lines
