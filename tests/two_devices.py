"""Two devices, and the comparison with one: for the tests of sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from agreement import assert_near, in_float64
from cases import call

IMAGES = ("x", "residual")
BATCH = P("batch")


def mesh(kind=AxisType.Auto):
    if jax.device_count() < 2:
        pytest.fail("sharding needs two devices; conftest.py asks for them before JAX starts")
    return jax.make_mesh((2,), ("batch",), axis_types=(kind,), devices=jax.devices()[:2])


def sharded(arrays, mesh, images=BATCH):
    """Images by ``images``, weights on every device."""
    return {
        name: jax.device_put(array, NamedSharding(mesh, images if name in IMAGES else P()))
        for name, array in arrays.items()
    }


def loss(op, implementation="ffi"):
    def function(arrays):
        leaves = jax.tree.leaves(call(op, arrays, implementation))
        return sum(jnp.sum((y - 0.5) ** 2) for y in leaves)

    return function


def check(got, function, arrays):
    """``got`` against ``function("xla")(arrays)`` on one device in float64."""
    exact = in_float64(jax.jit(function("xla")), arrays)
    assert_near(jax.tree.map(np.asarray, got), exact)


def op_of(op):
    return lambda implementation: lambda arrays: call(op, arrays, implementation)
