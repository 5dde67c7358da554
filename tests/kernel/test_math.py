"""The kernel's elementary functions against float64: over all exponents, and at the edges.

XLA's threads take numbers that are not normal for zero, and the kernel's are among them: such
arguments, results and summands of results may count as zero.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import EPSILON
from kernel_case import assert_same_bits, on_every_isa
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import Builder, Epilogue, compile_elementwise
from resfuse.spec import make_spec

TINY = float(np.finfo(np.float32).tiny)
SMALL = 16 * TINY  # a part of such a result may be no normal number


def of_numbers(function):
    """A function of one float for arrays of them."""
    return lambda x: np.array([function(each) for each in x.tolist()])


def logistic(x):
    return np.where(x < 0, np.exp(x), 1.0) / (1 + np.exp(-np.abs(x)))


EXACT = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": logistic,
    "tanh": np.tanh,
    "erf": of_numbers(math.erf),
    "erfc": of_numbers(math.erfc),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
# Of each exponent of both signs 256 numbers, which makes two million results.
NUMBERS = 256


def all_exponents():
    """Normal numbers, from all parts of each binade."""
    bits = np.arange(NUMBERS, dtype=np.uint32) * (2**23 // NUMBERS)
    bits = bits + np.random.default_rng(0).integers(0, 2**23 // NUMBERS, (2, 254, NUMBERS))
    signs = np.arange(2, dtype=np.uint32)[:, None, None] << 31
    exponents = np.arange(1, 255, dtype=np.uint32)[:, None] << 23
    return (signs + exponents + bits.astype(np.uint32)).reshape(-1).view(np.float32)


def operation(name, values):
    """The kernel's operation on an operand, whose channels are not whole vectors."""
    builder = Builder()
    result = builder.apply(name, {}, [builder.operand("tensor")])
    program = builder.build(result)
    channels = 37
    rows = -(-values.size // channels)
    x, kernel = jnp.zeros((1, 1, rows, 1)), jnp.zeros((1, 1, 1, channels))
    operand = jnp.resize(values, (1, 1, rows, channels))
    spec = make_spec(x, kernel, strides=1, padding="VALID", feature_group_count=1, precision=None)
    y = affine_on_cpu(x, kernel, jnp.ones(channels), jnp.zeros(channels), operand,
                      spec=spec, epilogue=Epilogue(program, program))  # fmt: skip
    return y.reshape(-1)[: values.size]


@functools.cache
def results():
    """Those of all exponents: ``{isa: {name: ...}}``, and XLA's own."""
    program = jax.jit(lambda x: {name: operation(name, x) for name in EXACT})
    by_isa = on_every_isa(lambda: jax.tree.map(np.asarray, program(all_exponents())))
    xla = jax.jit(lambda x: {name: getattr(jax.lax, name)(x) for name in EXACT})
    return by_isa, jax.tree.map(np.asarray, xla(all_exponents()))


def unit_of(x):
    """The unit in the last place, that of the largest numbers too."""
    return np.spacing(np.minimum(np.abs(x), 1e38).astype(np.float32)).astype(np.float64)


def units(y, exact):
    """The largest error in units in the last place."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    finite, small = np.isfinite(rounded), np.abs(exact) < SMALL
    assert (np.abs(y[small] - exact[small]) <= TINY).all()
    assert_same_class(y[~finite], rounded[~finite])
    normal = finite & ~small
    return float((np.abs(y[normal] - exact[normal]) / unit_of(exact[normal])).max())


def assert_same_class(y, expected):
    assert (np.isnan(y) == np.isnan(expected)).all()
    assert (y == expected)[~np.isnan(y)].all()


@pytest.mark.parametrize("name", EXACT)
def test_error(name):
    """At most 4 units in the last place, or XLA's own error."""
    by_isa, xla = results()
    with np.errstate(all="ignore"):
        exact = EXACT[name](all_exponents().astype(np.float64))
    theirs = units(xla[name], exact)
    for isa, ours in by_isa.items():
        assert units(ours[name], exact) <= max(4.0, theirs), isa


def gelu(approximate, values):
    """The kernel's, of accumulators that are the values."""
    function = functools.partial(jax.nn.gelu, approximate=approximate)
    x, kernel = jnp.reshape(values, (1, 2, -1, 1)), jnp.ones((1, 1, 1, 1))
    spec = make_spec(x, kernel, strides=1, padding="VALID", feature_group_count=1, precision=None)
    epilogue = compile_elementwise(function, x.shape)
    y = affine_on_cpu(x, kernel, jnp.ones(1), jnp.zeros(1), spec=spec, epilogue=epilogue)
    return y.reshape(-1)


def test_error_of_gelu():
    """At most 12 units in the last place, but where ``erfc`` is no normal number.

    XLA's own is off by 192, for it rounds the argument of ``erfc``, which counts squared.
    """
    values = np.concatenate([all_exponents(), np.linspace(-14, 14, 100_000, dtype=np.float32)])
    with np.errstate(all="ignore"):
        x = values.astype(np.float64)
        exact = 0.5 * x * of_numbers(math.erfc)(-x / math.sqrt(2))
    small = np.abs(exact) < SMALL
    program = jax.jit(functools.partial(gelu, False))
    for isa, ours in on_every_isa(lambda: np.asarray(program(values))).items():
        assert units(ours[~small], exact[~small]) <= 12, isa
        assert (np.abs(ours[small] - exact[small]) <= SMALL).all(), isa


def test_error_of_gelu_by_tanh():
    """The tail is e to the power of its argument, which is rounded; XLA's loses it in 1 + tanh."""
    values = np.concatenate([all_exponents(), np.linspace(-14, 14, 100_000, dtype=np.float32)])
    with np.errstate(all="ignore"):
        x = values.astype(np.float64)
        argument = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        exact = x * logistic(2 * argument)
        tolerance = np.abs(exact) * EPSILON * (4 + 4 * np.abs(argument)) + SMALL
    same = np.isfinite(exact.astype(np.float32))
    program = jax.jit(functools.partial(gelu, True))
    for isa, ours in on_every_isa(lambda: np.asarray(program(values))).items():
        assert (np.abs(ours - exact) <= tolerance)[same].all(), isa


# Zeros, numbers that are not normal, the smallest normal and the largest, infinities, NaN, halves,
# and neighbours of powers of two.
EDGES = np.array(
    [0.0, 1e-45, 1e-39, TINY, 0.49999997, 0.5, 1.0, 1.5, 2.5, 8388607.5, 8388609.0, 1e30,
     np.finfo(np.float32).max, np.inf, np.nan, 2.9999998, 3.0000002]
).astype(np.float32)  # fmt: skip
EDGES = np.concatenate([EDGES, -EDGES])
UNARY = ("neg", "abs", "sign", "floor", "ceil", "round_even", "round_away", "is_finite", *EXACT)
BINARY = ("add", "sub", "mul", "div", "max", "min", "gt", "ge", "lt", "le", "eq", "ne")


def of_all(names, *operands):
    """Each operation's results, and those of JAX, on the same arrays."""
    builder = Builder()
    taken = [builder.operand("tensor") for _ in operands]
    program = builder.build(*(builder.instruct(name, *taken) for name in names))
    shape = (1, 1, *operands[0].shape)
    x, kernel = jnp.zeros((*shape[:3], 1)), jnp.zeros((1, 1, 1, shape[3]))
    spec = make_spec(x, kernel, strides=1, padding="VALID", feature_group_count=1, precision=None)
    operands = [operand.reshape(shape) for operand in operands]
    ones, zeros = jnp.ones(shape[3]), jnp.zeros(shape[3])
    got = affine_on_cpu(x, kernel, ones, zeros, *operands,
                        spec=spec, epilogue=Epilogue(program, program))  # fmt: skip
    plain = program(operands[0], *operands)
    return dict(zip(names, zip(got, plain, strict=True), strict=True))


def assert_agrees(name, got, expected):
    """In the class of the number, and but for rounding; what is not normal is zero."""
    assert (np.isnan(got) == np.isnan(expected)).all(), name
    got, expected = (np.where(np.abs(a) <= SMALL, 0, a) for a in (got, expected))
    finite = np.isfinite(expected)
    assert (got == expected)[~finite & ~np.isnan(expected)].all(), name
    rounding = 64 if name in EXACT else 0  # units: XLA's own error may be large
    tolerance = rounding * unit_of(expected[finite])
    assert (np.abs(got[finite] - expected[finite]) <= tolerance).all(), name


def in_fours(names):
    """As many as a program has outputs."""
    return [names[first : first + 4] for first in range(0, len(names), 4)]


def test_edges_of_one_operand():
    values = np.resize(EDGES, (2, 2 * 17 + 3))
    program = jax.jit(lambda x: [of_all(names, x) for names in in_fours(UNARY)])
    for results in on_every_isa(lambda: jax.tree.map(np.asarray, program(values))).values():
        for names in results:
            for name, (got, expected) in names.items():
                assert_agrees(name, got, expected)


def test_edges_of_two_operands():
    pairs = np.stack(np.meshgrid(EDGES, EDGES)).reshape(2, len(EDGES), len(EDGES))
    program = jax.jit(lambda a, b: [of_all(names, a, b) for names in in_fours(BINARY)])
    for results in on_every_isa(lambda: jax.tree.map(np.asarray, program(*pairs))).values():
        for names in results:
            for name, (got, expected) in names.items():
                assert_agrees(name, got, expected)


def test_same_bits_in_every_lane():
    """A number's result does not depend on where it is, nor on its neighbours."""
    values = np.random.default_rng(0).normal(size=64).astype(np.float32) * 4
    spread = np.stack([np.roll(values, shift) for shift in range(64)])
    program = jax.jit(lambda x: {name: operation(name, x) for name in EXACT})
    for results in on_every_isa(
        lambda: jax.tree.map(np.asarray, program(spread.reshape(-1)))
    ).values():
        for name, rolled in results.items():
            rolled = rolled.reshape(spread.shape)
            back = np.stack([np.roll(row, -shift) for shift, row in enumerate(rolled)])
            assert_same_bits(back, np.broadcast_to(back[:1], back.shape), name)
