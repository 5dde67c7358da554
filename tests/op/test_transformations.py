"""Every transformation of JAX, of convolutions of all kinds with activations of all kinds."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import PartitionSpec as P

from agreement import assert_identical, assert_near, in_float64
from cases import OPS, call, problem
from resfuse import ffi
from sampling import long_but, some
from two_devices import BATCH, IMAGES, mesh, sharded

CASES = {
    "dilated": {"kernel_dilation": (2, 3), "activation": jax.nn.silu},
    "transposed": {
        "kernel": (4, 3, 4, 6), "input_dilation": (2, 1), "padding": ((2, 2), (1, 1)),
        "activation": functools.partial(jax.nn.gelu, approximate=False),
    },
    "line": {
        "x": (2, 9, 4), "kernel": (3, 4, 6), "kernel_dilation": 4, "padding": "CAUSAL",
        "activation": jax.nn.leaky_relu,
    },
    "space": {
        "x": (2, 3, 4, 3, 4), "kernel": (3, 2, 3, 4, 6), "strides": (1, 2, 1),
        "activation": jax.nn.relu6,
    },
}  # fmt: skip
SHAPES = ("x", "kernel")
HALVES = [("dilated", "space"), ("transposed", "line")]


def problems(op, names=CASES):
    return {name: problem(op, **_without(CASES[name], "activation")) for name in names}


def functions(op, implementation):
    """The op of each case as a function of its arrays, and a loss to which all results count."""

    def of(case):
        options = _without(case, *SHAPES)
        return lambda arrays: call(op, arrays, implementation, **options)

    return {name: of(case) for name, case in CASES.items()}


def _without(case, *names):
    return {name: value for name, value in case.items() if name not in names}


def loss(function):
    def total(arrays):
        outputs = jax.tree.leaves(function(arrays))
        angles = (jnp.linspace(0, 3, y.size, dtype=y.dtype).reshape(y.shape) for y in outputs)
        return sum(jnp.sum(jnp.sin(y + a)) for y, a in zip(outputs, angles, strict=True))

    return total


def examples(arrays, *names):
    """Two of the arrays of those names, and one of the others."""
    return {name: jnp.stack([a, 0.5 * a]) if name in names else a for name, a in arrays.items()}


def mapped(function, *names):
    def over_examples(arrays):
        axes = {name: 0 if name in names else None for name in arrays}
        return jax.vmap(function, (axes,))(examples(arrays, *names))

    return over_examples


def scanned(function):
    def steps(arrays):
        def step(total, factor):
            return total + loss(function)(arrays | {"x": factor * arrays["x"]}), None

        return jax.lax.scan(step, jnp.zeros((), arrays["x"].dtype), factors(arrays))[0]

    def factors(arrays):
        return jnp.asarray([0.5, 2.0], arrays["x"].dtype)

    return steps


def squared_gradient(function):
    def norm(arrays):
        return sum(jnp.vdot(g, g) for g in jax.tree.leaves(jax.grad(loss(function))(arrays)))

    return norm


TRANSFORMATIONS = {
    "vmap over images": lambda f: mapped(f, *IMAGES),
    "vmap over kernels": lambda f: mapped(f, "kernel"),
    "vmap of gradient": lambda f: mapped(jax.grad(loss(f)), "x"),
    "gradient of vmap": lambda f: jax.grad(loss(mapped(f, *IMAGES))),
    "gradient of checkpoint": lambda f: jax.grad(jax.checkpoint(loss(f))),
    "gradient of scan": lambda f: jax.grad(scanned(f)),
    "gradient of gradient": lambda f: jax.grad(squared_gradient(f)),
}
# What else training adds to a convolution is the same whatever its geometry is.
OF_TRAINING = ("vmap over kernels", "vmap of gradient", "gradient of checkpoint")


def program(op, implementation, transformation=lambda f: f):
    """One program of all cases that arrays are given for."""
    transformed = {k: transformation(f) for k, f in functions(op, implementation).items()}
    return jax.jit(lambda arrays: {k: transformed[k](arrays[k]) for k in arrays})


def check(got, exact):
    """Each case by itself, for each has its own scale."""
    assert got.keys() == exact.keys()
    for name in got:
        assert_near(got[name], exact[name])


WITH_HALVES = list(itertools.product(TRANSFORMATIONS, HALVES))


@pytest.mark.parametrize(
    ("op", "name", "cases"),
    [
        # Every transformation of two convolutions, and each convolution under every other one.
        *long_but(
            [("inference", *each) for at, each in enumerate(WITH_HALVES) if at % 4 in (0, 3)],
            [("inference", *each) for each in WITH_HALVES],
        ),
        *some(1, [("training", *each) for each in WITH_HALVES if each[0] in OF_TRAINING]),
    ],
)
def test_against_float64(op, name, cases):
    arrays = problems(op, cases)
    ours, reference = (program(op, i, TRANSFORMATIONS[name]) for i in ("ffi", "xla"))
    check(ours(arrays), in_float64(reference, arrays))


@pytest.mark.parametrize("op", OPS)
def test_shard_map(op):
    """Each device has its part of the batch, and in training statistics of its own."""
    arrays = problems(op)

    def run(arrays):
        outputs = functions(op, "ffi")
        return {k: [y[None] for y in jax.tree.leaves(f(arrays[k]))] for k, f in outputs.items()}

    specs = {k: {n: BATCH if n in IMAGES else P() for n in each} for k, each in arrays.items()}
    parts = jax.jit(jax.shard_map(run, mesh=mesh(), in_specs=(specs,), out_specs=BATCH))(arrays)
    for i in range(2):
        rows = {
            k: each | {name: each[name][i : i + 1] for name in IMAGES} for k, each in arrays.items()
        }
        part = jax.tree.map(lambda y, i=i: y[i : i + 1], parts)
        jax.tree.map(np.testing.assert_array_equal, part, jax.jit(run)(rows))


@pytest.mark.parametrize("op", OPS)
def test_sharded_batch(op):
    """In training with the statistics of the whole batch; nothing is gathered."""
    arrays, ours = problems(op), program(op, "ffi")
    given = {name: sharded(each, mesh()) for name, each in arrays.items()}
    assert "all-gather" not in ours.lower(given).compile().as_text()
    check(ours(given), in_float64(program(op, "xla"), arrays))


@pytest.mark.parametrize("op", OPS)
def test_export(op):
    arrays, ours = problems(op), program(op, "ffi")
    allowed = [export.DisabledSafetyCheck.custom_call(each) for each in ffi.TARGETS]
    exported = export.export(ours, disabled_checks=allowed)(arrays)
    assert "custom_call @resfuse" in exported.mlir_module()
    loaded = export.deserialize(exported.serialize())
    assert_identical(jax.jit(loaded.call)(arrays), ours(arrays))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("op", OPS)
def test_forward_mode_is_refused_by_name(op, name):
    function, arrays = functions(op, "ffi")[name], problems(op)[name]
    with pytest.raises(TypeError, match=r'forward mode .* implementation="xla"'):
        jax.jvp(function, (arrays,), (arrays,))
