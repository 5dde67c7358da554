"""``fuse`` under JAX's own modes, on meshes of every kind, and with symbolic shapes."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.experimental import checkify
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import agreement
import resfuse
from fuse_chains import KERNEL, A, X, conv, loss, table
from two_devices import BATCH, mesh

SCALE = A.reshape(1, 1, 1, 4)
POINT = jnp.concatenate([KERNEL[:1, :1], KERNEL[1:2, :1]], 2)


def network(x, scale=SCALE):
    """Written such that it runs under every mode."""
    y = jax.nn.relu(conv(x) * scale - scale + x)
    return lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 1, 1), "VALID")


def in_training(x, scale=SCALE):
    y = conv(x)
    mean = y.mean((0, 1, 2), keepdims=True)
    var = jnp.square(y - mean).mean((0, 1, 2), keepdims=True)
    return jax.nn.relu((y - mean) * lax.rsqrt(var + 1e-5) * scale + scale)


def gated(x, scale=SCALE):
    """An epilogue that is a program, with numbers for each image and channel, and a tensor."""
    y = jax.nn.silu(conv(x) * scale + x)
    return jnp.where(y > 0, y * x.mean((1, 2), keepdims=True), jnp.tanh(y) * scale)


def preactivated(x, scale=SCALE):
    """A prologue: two images side by side, with numbers for each channel."""
    y = jnp.concatenate([x, conv(x)], -1)
    scales = jnp.concatenate([scale, scale], -1)
    return conv(jax.nn.relu(y * scales - scales), POINT) + x


NETWORKS = {
    "inference": network,
    "training": in_training,
    "gated": gated,
    "preactivated": preactivated,
}
MODES = {
    "x64": lambda: jax.enable_x64(True),
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "leaks": jax.checking_leaks,
    "transfers": lambda: jax.transfer_guard("disallow"),
    "NaN": lambda: jax.debug_nans(True),
    "infinities": lambda: jax.debug_infs(True),
    "precision": lambda: jax.default_matmul_precision("highest"),
    "without jit": jax.disable_jit,
}


def close(got, expected):
    """Of the same types, and as close as sums of some hundred products in another order are."""

    def check(got, expected):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        error, size = np.abs(got - expected).max(), np.abs(expected).max()
        assert error <= 8 * 150 * agreement.EPSILON * size

    jax.tree.map(check, jax.tree.map(np.asarray, got), jax.tree.map(np.asarray, expected))


def values_and_gradients(transform, x, *scale):
    """Of both networks, as one program; of closed-over or given scales."""

    def every(x):
        found = {}
        for name, network in NETWORKS.items():
            function = transform(lambda x, network=network: network(x, *scale))
            found[name] = function(x), jax.grad(loss(function))(x)
        return found

    return jax.jit(every)(x)


@functools.cache
def expected():
    return jax.device_get(values_and_gradients(lambda function: function, X))


@pytest.mark.parametrize("mode", sorted(MODES.keys() - {"without jit"}))
def test_modes(mode):
    with MODES[mode]():
        got = values_and_gradients(resfuse.fuse, X)
    close(got, expected())


@pytest.mark.parametrize("mode", ["x64", "transfers", "without jit"])
def test_modes_without_jit_around(mode):
    with MODES[mode]():
        got = resfuse.fuse(network)(X)
    close(got, expected()["inference"][0])


def test_a_mode_that_changes_between_calls_counts():
    fast = resfuse.fuse(lambda x: (conv(x), jnp.arange(1.0), jax.random.key(0)))
    for setting in (jax.enable_x64(True), jax.default_prng_impl("rbg"), contextlib.nullcontext()):
        with setting:
            types = [y.dtype for y in fast(X)]
            assert types == [y.dtype for y in jax.eval_shape(lambda: fast(X))]
            assert types[2] == jax.random.key(0).dtype


def test_precision_of_the_mode(capsys):
    """Winograd only where precision is left to the kernel."""

    def wide(x):
        return conv(x, jnp.ones((3, 3, 64, 64)))

    x, found = jnp.ones((1, 16, 16, 64)), []
    for precision in (None, "highest"):
        with jax.default_matmul_precision(precision):
            found.append(table(capsys, wide, x)[1][0].split()[6])
    assert found == ["winograd", "direct"]


def test_nan_is_found():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        resfuse.fuse(network)(X * jnp.nan)


def test_checks_stay():
    def function(x):
        checkify.check(x.sum() > 1e9, "the sum is {total}", total=x.sum())
        return network(x)

    error, y = checkify.checkify(resfuse.fuse(function))(X)
    assert "the sum is" in error.get()
    close(y, expected()["inference"][0])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
def test_meshes(kind):
    """Closed-over weights lie on the mesh too."""
    with jax.set_mesh(mesh(kind)):
        x = jax.device_put(X, NamedSharding(mesh(kind), BATCH))
        scale = jax.device_put(SCALE, NamedSharding(mesh(kind), P()))
        got = values_and_gradients(resfuse.fuse, x, scale)
    for y, _ in got.values():
        assert y.sharding.is_equivalent_to(x.sharding, x.ndim)
    close(got, expected())


OTHER_SPECS = {
    "height": (P(None, "batch"), P(), "XLA: sharded over other axes than the batch"),
    "channels of the scale": (P(), P(None, None, None, "batch"), "  -  "),
}


@pytest.mark.parametrize("name", OTHER_SPECS)
def test_an_explicit_mesh_over_other_axes(name, capsys):
    *specs, expected = OTHER_SPECS[name]

    def function(x, scale):
        return jax.nn.relu(conv(x) * scale)

    with jax.set_mesh(mesh(AxisType.Explicit)):
        shardings = [NamedSharding(mesh(AxisType.Explicit), spec) for spec in specs]
        args = jax.device_put((X, SCALE), tuple(shardings))
        _, (row,), _ = table(capsys, function, *args)
        got, plain = (jax.jit(f)(*args) for f in (resfuse.fuse(function), function))
    assert expected in row
    assert jax.typeof(got) == jax.typeof(plain)
    close(got, jax.device_get(plain))


def two_axes(*kinds):
    return jax.make_mesh((2, 1), ("batch", "other"), axis_types=kinds)


def test_a_mesh_of_both_kinds():
    both = two_axes(AxisType.Explicit, AxisType.Auto)
    with jax.set_mesh(both):
        got = resfuse.fuse(network)(jax.device_put(X, NamedSharding(both, BATCH)))
    close(got, expected()["inference"][0])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
def test_shard_map_over_some_axes(kind, capsys):
    """Of an Explicit mesh: runs as it was, and says so."""

    def explained(x):
        found.extend(table(capsys, network, x)[1])
        return resfuse.fuse(network)(x)

    found, both = [], two_axes(kind, kind)
    mapped = functools.partial(
        jax.shard_map, mesh=both, in_specs=BATCH, out_specs=BATCH, axis_names={"batch"}
    )
    with jax.set_mesh(both):
        got = jax.jit(mapped(explained))(jax.device_put(X, NamedSharding(both, BATCH)))
    reason = "XLA: in a shard_map over some axes of an Explicit mesh"
    assert (reason in found[0]) == (kind == AxisType.Explicit)
    close(got, expected()["inference"][0])


@pytest.mark.parametrize("shape", ["b, 6, 5, 4", "b, h, 5, 4"])
def test_symbolic_shapes_run_as_they_were(shape):
    x = jax.ShapeDtypeStruct(export.symbolic_shape(shape), jnp.float32)
    program = export.export(jax.jit(resfuse.fuse(network)))(x)  # has no calls to be allowed
    close(program.call(X), expected()["inference"][0])
