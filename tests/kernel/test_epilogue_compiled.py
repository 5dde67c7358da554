"""From functions of JAX to programs: what compiles, to what, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resfuse.kernel import extension
from resfuse.kernel.epilogue import (
    ADD,
    ADD_RELU,
    IDENTITY,
    MAX_OPERANDS,
    RELU,
    Builder,
    Gate,
    NotElementwiseError,
    activation_epilogue,
    compile_elementwise,
    gate_of,
)
from resfuse.kernel.gate import derived
from resfuse.kernel.program import MAX_INSTRUCTIONS

SHAPE = (2, 3, 4, 5)
# Each with the most instructions that it may have.
ACTIVATIONS = {
    "relu": (jax.nn.relu, 1),
    "relu6": (jax.nn.relu6, 1),
    "silu": (jax.nn.silu, 2),
    "gelu": (jax.nn.gelu, 9),
    "exact gelu": (functools.partial(jax.nn.gelu, approximate=False), 5),
    "softplus": (jax.nn.softplus, 10),
    "mish": (jax.nn.mish, 12),
    "elu": (jax.nn.elu, 4),
    "selu": (jax.nn.selu, 6),
    "celu": (jax.nn.celu, 4),
    "leaky": (jax.nn.leaky_relu, 3),
    "log sigmoid": (jax.nn.log_sigmoid, 12),
    "squareplus": (jax.nn.squareplus, 5),
    "soft sign": (jax.nn.soft_sign, 3),
    "hard tanh": (jax.nn.hard_tanh, 4),
    "hard swish": (jax.nn.hard_swish, 4),
    "hard sigmoid": (jax.nn.hard_sigmoid, 3),
    "squared relu": (lambda x: jnp.square(jax.nn.relu(x)), 2),
    "clip": (lambda x: jnp.clip(x, -1, 2), 1),
    "cube": (lambda x: x**3, 2),
    "inverse square": (lambda x: x**-2.0, 3),
    "round": (jnp.round, 1),
    "finite": (lambda x: jnp.where(jnp.isfinite(x) ^ (x > 1), x, 0), 4),
    "bool": (lambda x: x * (x > 0).astype(jnp.float32) + x.astype(bool).astype(jnp.float32), 5),
    "jit": (jax.jit(lambda x: jax.jit(jnp.tanh)(x) + 1), 2),
    "by a constant": (lambda x: x / 6 * 1.0, 1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_compiled(name):
    """The program computes in plain JAX what the function does."""
    function, most = ACTIVATIONS[name]
    epilogue = compile_elementwise(function, SHAPE)
    assert len(epilogue.program.code) <= most
    x = np.linspace(-9, 9, 120).reshape(SHAPE).astype(np.float32)
    (got,) = epilogue.program(jnp.asarray(x))
    np.testing.assert_allclose(got, function(x), rtol=1e-6, atol=1e-6)


def test_every_instruction_is_an_operation_of_the_kernel():
    names = {
        name
        for f, _ in ACTIVATIONS.values()
        for name, _ in compile_elementwise(f, SHAPE).program.code
    }
    assert names <= set(extension.operations())


@pytest.mark.parametrize(
    ("epilogue", "function", "kinds"),
    [(IDENTITY, None, ()), (ADD, None, ("tensor",)), (RELU, jax.nn.relu, ()),
     (ADD_RELU, jax.nn.relu, ("tensor",))],
    ids=("identity", "add", "relu", "add, relu"),
)  # fmt: skip
def test_those_written_out_are_what_would_be_compiled(epilogue, function, kinds):
    assert activation_epilogue(function, SHAPE, *kinds) == epilogue


@pytest.mark.parametrize(
    ("function", "message"),
    {
        "softmax": (jax.nn.softmax, "reduce_max is not an operation on each element"),
        "cumulative": (jnp.cumsum, r"makes float32 of shape \(120,\)"),
        "along an axis": (lambda x: jnp.cumsum(x, 1), "cumsum is not an operation on each"),
        "reversed": (lambda x: jnp.flip(x, 1), "rev is not an operation on each element"),
        "transposed": (lambda x: x.swapaxes(0, 1).swapaxes(0, 1), "transpose is not an operation"),
        "half": (lambda x: x.astype(jnp.bfloat16), "makes bfloat16"),
        "first": (lambda x: x[0], r"makes float32 of shape \(3, 4, 5\)"),
        "two": (lambda x: (x, x), "returns 2 arrays, expected one"),
        "standardised": (lambda x: x - x.mean(), "reduce_sum is not an operation"),
    }.values(),
)
def test_not_elementwise(function, message):
    with pytest.raises(NotElementwiseError, match=message):
        compile_elementwise(function, SHAPE)


@pytest.mark.parametrize(
    "function",
    {
        "an operation that the kernel lacks": jnp.sin,
        "a constant for each channel": lambda x: x * np.arange(5, dtype=np.float32),
        "a power that is not whole": lambda x: jnp.abs(x) ** 0.3,
        "too many instructions": lambda x: functools.reduce(
            lambda y, n: jnp.tanh(y) + n, range(MAX_INSTRUCTIONS), x
        ),
    }.values(),
)
def test_left_to_plain_jax(function):
    assert compile_elementwise(function, SHAPE) is None


def test_operands_without_room():
    builder = Builder()
    assert None not in [builder.operand("tensor") for _ in range(MAX_OPERANDS)]
    assert builder.operand("tensor") is None


def test_constants_by_their_bits():
    """0 and -0 are not the same, nor is a program with one that with the other."""
    zero, minus = (compile_elementwise(lambda x, c=c: x / c, SHAPE).program for c in (0.0, -0.0))
    assert zero != minus
    assert compile_elementwise(lambda x: x * np.nan, SHAPE).program.constants == (0x7FC00000,)


@pytest.mark.parametrize(
    ("function", "gate"),
    {
        "relu": (jax.nn.relu, Gate((("gt", 0.0),))),
        "relu6": (jax.nn.relu6, Gate((("gt", 0.0), ("lt", 6.0)))),
        "leaky": (
            functools.partial(jax.nn.leaky_relu, negative_slope=0.5),
            Gate((("ge", 0.0),), 0.5),
        ),
        "another derivative": (jax.custom_jvp(lambda x: jnp.maximum(x, 0)), None),
        "silu": (jax.nn.silu, None),
    }.values(),
)
def test_gates(function, gate):
    if isinstance(function, jax.custom_jvp) and function is not jax.nn.relu and gate is None:
        function.defjvp(lambda primals, tangents: (jnp.maximum(*primals, 0), tangents[0]))
    assert gate_of(function) == derived(function) == gate
