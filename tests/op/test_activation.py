"""Any elementwise function as activation, with the values and derivatives that JAX gives it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from agreement import assert_identical, assert_near, in_float64
from cases import OPS, call, problem
from sampling import halves, long_but

SLOPES = np.linspace(0.1, 0.6, 6, dtype=np.float32)
ACTIVATIONS = {
    "none": None,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "exact gelu": functools.partial(jax.nn.gelu, approximate=False),
    "hard_swish": jax.nn.hard_swish,
    "elu": jax.nn.elu,
    "mish": jax.nn.mish,
    "a number": lambda y: jnp.maximum(y, 0.25 * y),
    "numbers per channel": lambda y: jnp.where(y > 0, y, SLOPES.astype(y.dtype) * y),
    "nothing the kernel has": lambda y: jnp.sinh(jnp.sin(y)),
}


# To the kernel's training step all without a gate are one.
OF_TRAINING = ("none", "relu", "relu6", "leaky_relu", "silu", "numbers per channel")
KEPT, LEFT_LONG = map(tuple, halves(ACTIVATIONS))


def every_activation(op, names, implementation):
    """One program: of each activation the values and the gradients by all arrays."""

    def loss(activation, arrays):
        outputs = jax.tree.leaves(call(op, arrays, implementation, activation=activation))
        return sum(jnp.vdot(y, y) for y in outputs), outputs

    def function(arrays):
        return {
            name: jax.grad(functools.partial(loss, ACTIVATIONS[name]), has_aux=True)(arrays)
            for name in names
        }

    return jax.jit(function)


RUN = [("inference", KEPT), ("training", OF_TRAINING)]


@pytest.mark.parametrize(("op", "names"), long_but(RUN, [*RUN, ("inference", LEFT_LONG)]))
def test_values_and_gradients(op, names):
    arrays = problem(op, x=(2, 4, 3, 4))
    exact = in_float64(every_activation(op, names, "xla"), arrays)
    got = every_activation(op, names, "ffi")(arrays)
    for name in names:
        assert_near(got[name], exact[name])


def test_silu_without_a_residual():
    """There the kernel's batch norm computes it; gradients, theirs, and a batch of them."""
    shape = {"x": (2, 4, 3, 4), "without": ("residual", "scale")}

    def derivatives(implementation):
        def loss(x, arrays):
            arrays = arrays | {"x": x}
            outputs = call("training", arrays, implementation, activation=jax.nn.silu)
            return sum(jnp.vdot(y, y) for y in jax.tree.leaves(outputs))

        def slope(x, arrays):
            return sum(map(jnp.sum, jax.tree.leaves(jax.grad(loss, (0, 1))(x, arrays))))

        def both(arrays):
            x, rest = arrays["x"], {name: arrays[name] for name in arrays if name != "x"}
            several = jax.vmap(jax.grad(loss, (0, 1)), (0, None))(jnp.stack([x, x[::-1] + x]), rest)
            return several, jax.grad(slope, (0, 1))(x, rest)

        return jax.jit(both)

    arrays = problem("training", **shape)
    exact = in_float64(derivatives("xla"), arrays)
    for got, truth in zip(derivatives("ffi")(arrays), exact, strict=True):
        assert_near(got, truth)


LEFT_TO_XLA = ("numbers per channel", "nothing the kernel has")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_where_it_runs(name):
    """XLA has work on arrays of the output's shape only where the kernel lacks the activation."""
    function = functools.partial(call, "inference", activation=ACTIVATIONS[name])
    text = jax.jit(function).lower(problem()).as_text()
    work = re.findall(r"stablehlo\.(?!custom_call|return).* : tensor<2x6x5x6xf32>\n", text)
    assert bool(work) == (name in LEFT_TO_XLA)


def test_inside_a_shard_map_over_some_axes():
    """There, activations are traced with operations that say where arrays lie."""
    mesh = jax.make_mesh((1, 1), ("batch", "other"), axis_types=(AxisType.Auto,) * 2)
    run = functools.partial(call, "inference", activation=lambda y: jnp.where(y > 0, y, -1))
    mapped = jax.shard_map(run, mesh=mesh, in_specs=P(), out_specs=P(), axis_names={"batch"})
    arrays = problem()
    with jax.set_mesh(mesh):
        ours = jax.jit(mapped)(arrays)
    assert_near(ours, np.asarray(run(arrays)))


TIES = {
    **{name: ACTIVATIONS[name] for name in ("relu", "relu6", "leaky_relu", "a number")},
    "maximum": lambda y: jnp.maximum(y, 0),
    "where": lambda y: jnp.where(y >= 0, y, 0.5 * y),
    "abs": jnp.abs,
}


@pytest.mark.parametrize("op", OPS)
def test_derivatives_where_two_cases_meet(op):
    """Of every output exactly 0, where each function has a derivative of its own."""
    zeros = {name: jnp.zeros_like(array) for name, array in problem(op).items()}

    def gradients(implementation):
        def of(activation):
            def total(arrays):
                outputs = call(op, arrays, implementation, activation=activation)
                return jax.tree.leaves(outputs)[0].sum()

            return jax.grad(total)(zeros)["residual"]

        return jax.jit(lambda: {name: of(activation) for name, activation in TIES.items()})()

    assert_identical(gradients("ffi"), gradients("xla"))


@pytest.mark.parametrize("op", OPS)
def test_what_it_closes_over_is_differentiated(op):
    """As PReLU's slope is (He et al. 2015, equation 1): here it is no constant, but an argument."""
    arrays = problem(op, x=(2, 4, 3, 4))

    def gradients(implementation):
        def loss(arrays, per_channel, slope):
            def prelu(y):
                return jnp.where(y > 0, y, slope * y) + jnp.minimum(y, per_channel * y)

            return jax.tree.leaves(call(op, arrays, implementation, activation=prelu))[0].sum()

        return jax.jit(jax.grad(loss, (0, 1, 2)))

    given = arrays, jnp.asarray(SLOPES), jnp.float32(0.25)
    assert_near(gradients("ffi")(*given), in_float64(gradients("xla"), *given))


@pytest.mark.parametrize("op", OPS)
def test_a_function_is_compiled_once(op):
    """By its identity; another one is another program."""
    traced = []

    def activation(y):
        traced.append(y)
        return jnp.maximum(y, 0)

    arrays = problem(op)
    call(op, arrays, activation=activation)
    before = len(traced)
    assert before
    call(op, arrays, activation=activation)
    assert len(traced) == before


NOT_ELEMENTWISE = {
    "softmax": (jax.nn.softmax, r"softmax.*is not an operation on each element by itself"),
    "cumsum": (lambda y: jnp.cumsum(y, 1), "cumsum is not an operation on each element by itself"),
    "mean": (lambda y: y - y.mean(), "reduce_sum is not an operation on each element by itself"),
    "shape": (lambda y: y[..., None], r"it makes float32 of shape \(2, 6, 5, 6, 1\) from float32"),
    "dtype": (lambda y: y > 0, r"it makes bool of shape \(2, 6, 5, 6\) from float32"),
    "two arrays": (lambda y: (y, y), "it returns 2 arrays, expected one"),
}
NO_FUNCTION = {
    "a name": ("relu", "got 'relu'"),
    "a number": (0.1, "got 0.1"),
    "without a hash": (type("Scaled", (), {"__call__": jnp.abs, "__hash__": None})(), "got <"),
}


@pytest.mark.parametrize("implementation", [None, "xla"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("activation", "message"), NOT_ELEMENTWISE.values(), ids=NOT_ELEMENTWISE)
def test_what_is_not_elementwise(op, activation, message, implementation):
    with pytest.raises(
        ValueError, match=f"activation must map each number by itself, got .*{message}"
    ):
        call(op, problem(op), implementation, activation=activation)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("activation", "message"), NO_FUNCTION.values(), ids=NO_FUNCTION)
def test_what_is_no_function(op, activation, message):
    with pytest.raises(
        TypeError, match=f"activation must be a hashable function or None, {message}"
    ):
        call(op, problem(op), activation=activation)
