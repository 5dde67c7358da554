"""Derivatives through an epilogue: those of plain JAX, where two cases meet as well."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernel_case import Case, assert_same_bits, integers, normals
from resfuse import reference
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import activation_epilogue, compile_elementwise, gate_of

# Of integers, whose results are often just where two cases meet.
CASE = Case(2, (4, 5), (3, 19), (1, 1))
WITH_TIES = {
    "relu": (jax.nn.relu, True),
    "maximum": (lambda x: jnp.maximum(x, 0), False),  # half of the derivative at 0
    "relu6": (jax.nn.relu6, True),
    "minimum of maximum": (lambda x: jnp.minimum(jnp.maximum(x, 0), 6), False),
    "clamp": (lambda x: jax.lax.clamp(-3.0, x, 5.0), True),
    "leaky": (functools.partial(jax.nn.leaky_relu, negative_slope=0.25), True),
    "leaky, 0 below": (lambda x: jnp.where(x > 0, x, 0.5 * x), True),
    "negative slope": (lambda x: jnp.where(x > 0, x, -0.5 * x), False),
    "hard tanh": (jax.nn.hard_tanh, False),
    "abs": (jnp.abs, False),
    "squared relu": (lambda x: jnp.square(jax.nn.relu(x)), False),
}
SMOOTH = {
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "exact gelu": functools.partial(jax.nn.gelu, approximate=False),
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "elu": jax.nn.elu,
}


def plain(spec, epilogue, x, kernel, scale, shift, *operands):
    acc = reference.affine(x, kernel, scale, shift, spec=spec)
    return epilogue.outputs(acc, *operands)[0]


def gradients(case, epilogue, arrays, weights):
    """By all arguments, of the kernel and of plain JAX."""
    spec = case.spec(*arrays[:2])

    def total(function, *arrays):
        return (function(*arrays) * weights).sum()

    ours = functools.partial(affine_on_cpu, spec=spec, epilogue=epilogue)
    theirs = functools.partial(plain, spec, epilogue)
    every = tuple(range(len(arrays)))
    return [jax.grad(functools.partial(total, f), every)(*arrays) for f in (ours, theirs)]


@pytest.mark.parametrize("name", WITH_TIES)
def test_where_two_cases_meet(name):
    """Exact on integers: weights are powers of two, and so are slopes."""
    function, has_gate = WITH_TIES[name]
    assert (gate_of(function) is not None) == has_gate
    arrays = integers(CASE)
    arrays[2] = np.abs(arrays[2]) + 1
    arrays[2] = 2.0 ** np.floor(np.log2(arrays[2])).astype(np.float32)
    weights = np.random.default_rng(0).choice([-2.0, 1.0, 4.0], CASE.shapes[2]).astype(np.float32)
    epilogue = activation_epilogue(function, CASE.shapes[2], "tensor")
    ours, theirs = jax.jit(lambda *a: gradients(CASE, epilogue, a, weights))(*arrays)
    for number, (got, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert_same_bits(np.asarray(got), np.asarray(expected), f"argument {number}")


def test_smooth_functions():
    arrays = normals(CASE)
    weights = np.random.default_rng(0).normal(size=CASE.shapes[2]).astype(np.float32)

    def all_of(*arrays):
        return {
            name: gradients(CASE, activation_epilogue(f, CASE.shapes[2], "tensor"), arrays, weights)
            for name, f in SMOOTH.items()
        }

    for name, (ours, theirs) in jax.jit(all_of)(*arrays).items():
        for got, expected in zip(ours, theirs, strict=True):
            scale = np.abs(expected).max()
            assert np.abs(got - expected).max() <= 1e-5 * scale, name


KINDS = ("channel", "image", "tensor")


def combined(acc, channel, image, tensor):
    return jax.nn.sigmoid(acc * channel) * image + tensor * acc


def test_operands_of_every_kind():
    """Each has the sum over what it lacks as its cotangent, also for images in vmap, and twice."""
    x, kernel, scale, shift, tensor = normals(CASE)
    arrays = (x, kernel, scale, shift, scale, tensor[:, 0, 0], tensor)
    epilogue = compile_elementwise(combined, CASE.shapes[2], *KINDS)
    spec = CASE.spec(x, kernel)
    ours = functools.partial(affine_on_cpu, spec=spec, epilogue=epilogue)
    theirs = functools.partial(plain, spec, epilogue)

    def derivatives(function):
        def slope(*arrays):
            return jax.grad(lambda x, *rest: function(x, *rest).sum())(*arrays)

        def bent(*arrays):
            return (slope(*arrays) ** 2).sum()

        images = [jnp.stack([a, 2 * a]) for a in (x, arrays[5], tensor)]
        mapped = jax.vmap(
            lambda x, image, tensor: slope(x, *arrays[1:5], image, tensor)
        )(*images)  # fmt: skip
        every = tuple(range(len(arrays)))
        first = jax.grad(lambda *a: jnp.sin(function(*a)).sum(), every)(*arrays)
        return first, jax.grad(bent, every[:4])(*arrays), mapped

    got, expected = jax.jit(lambda: (derivatives(ours), derivatives(theirs)))()
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()
