"""What ``fuse`` traces for: to read the reference, and to run the kernel's calls alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P
from jax.sharding import SingleDeviceSharding

import agreement
import resfuse
from cases import kernel_calls
from fuse_chains import KERNEL, A, B, X, cast, conv
from resfuse import jax_compat
from resfuse.kernel.elementwise import IN_PRIMITIVES
from resfuse.purpose import Purpose, tracing_for
from two_devices import mesh

ONES, ZEROS = jnp.ones(4), jnp.zeros(4)


@cast
def network(x, kernel=KERNEL):
    return jax.nn.relu(conv(x, kernel) * A + B)


def op(x, implementation=None):
    return resfuse.conv_bn_relu(x, KERNEL, A, B, ZEROS, ONES, implementation=implementation)


@pytest.mark.parametrize("activation", IN_PRIMITIVES)
def test_what_is_read_has_the_value_and_the_derivative(activation):
    x = jnp.asarray([-4.0, -3.0, -1.0, -0.0, 0.0, 0.5, 3.0, 6.0, 7.0, jnp.inf, jnp.nan])
    wanted, read = (
        jax.jit(jax.vmap(jax.value_and_grad(function)))(x)
        for function in (activation, IN_PRIMITIVES[activation])
    )
    jax.tree.map(np.testing.assert_array_equal, read, wanted)


def program(fused, x=X):
    fused(x)
    (found,) = fused._programs.values()
    return found


def purposes(found):
    """In a call, and in traces whose arguments are traced and not."""
    seen = [found._purpose([X])]
    jax.make_jaxpr(lambda x: seen.append(found._purpose([x])))(X)
    jax.make_jaxpr(lambda _: seen.append(found._purpose([X])))(X)
    jax.vmap(lambda _: seen.append(found._purpose([X])))(X)
    jax.grad(lambda x: (seen.append(found._purpose([X])), x)[1])(1.0)
    with jax.set_mesh(mesh()):
        seen.append(found._purpose([X]))
    return seen


def test_only_what_is_called_directly_runs():
    assert purposes(program(resfuse.fuse(network))) == [Purpose.RUNNING, *[Purpose.ANYTHING] * 5]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: network(
            jax.jit(lambda x: x, out_shardings=SingleDeviceSharding(jax.devices()[0]))(x)
        ),
        lambda x: network(lax.with_sharding_constraint(x, SingleDeviceSharding(jax.devices()[0]))),
        lambda x: jax.shard_map(network, mesh=mesh(), in_specs=P("batch"), out_specs=P("batch"))(x),
    ],
    ids=["jit", "constraint", "shard_map"],
)
def test_what_names_devices_may_need_all_rules(function):
    jaxpr = jax.make_jaxpr(function)(X)
    assert jax_compat.has_shardings(jaxpr)
    assert not jax_compat.has_shardings(jax.make_jaxpr(jax.jit(network))(X))


def test_what_runs_is_the_call_alone():
    found = program(resfuse.fuse(network))
    texts = {}
    for purpose in (Purpose.RUNNING, Purpose.ANYTHING):
        with tracing_for(purpose):
            texts[purpose] = found._jitted.lower(found._arrays(purpose), [X]).as_text()
    assert re.findall(r"custom_call @(\w+)", texts[Purpose.RUNNING]) == ["resfuse_conv_affine"]
    choices = {purpose: "stablehlo.case" in text for purpose, text in texts.items()}
    assert choices == {Purpose.RUNNING: False, Purpose.ANYTHING: True}


def test_allocations_are_small_where_arrays_are(monkeypatch):
    """As XLA's refusal of an option that it does not know shows."""
    monkeypatch.setattr(jax_compat, "HEAP_BYTES", "xla_no_option")
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_option"):
        resfuse.fuse(lambda x: network(x))(X)
    resfuse.fuse(lambda x: network(x).sum() + jnp.zeros(9 << 20))(X)
    jax.jit(resfuse.fuse(lambda x: network(x)))(X)


def test_transformations_after_a_call_that_ran():
    fused = resfuse.fuse(network)
    ran = fused(X)
    agreement.assert_identical(jax.jit(fused)(X), ran)
    agreement.assert_identical(jax.vmap(fused)(X[None])[0], ran)
    gradients = [jax.jit(jax.grad(lambda x, f=f: f(x).sum())) for f in (fused, network)]
    agreement.assert_near(gradients[0](X), agreement.in_float64(gradients[1], X))


@pytest.mark.parametrize("first", ["fused", "plain"])
def test_a_function_that_others_use_too_keeps_its_kernel(first):
    shared = jax.jit(lambda x: op(x) + 1)
    fused = resfuse.fuse(lambda x: shared(x) * 2)
    calls = [lambda: fused(X), lambda: shared(X) * 2]
    results = [call() for call in (calls if first == "fused" else calls[::-1])]
    expected = agreement.in_float64(lambda x: (op(x, "xla") + 1) * 2, X)
    for result in results:
        agreement.assert_near(result, expected)
    assert [name for name, _ in kernel_calls(shared, X)] == ["resfuse_conv_affine"]
    (chain,) = program(fused).chains
    assert chain.packed is not None
