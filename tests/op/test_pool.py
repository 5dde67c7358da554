"""Pooling for JAX: the reference's values and gradients, under every transformation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from agreement import images
from cases import kernel_calls
from resfuse import ffi
from resfuse.kernel.pool import Pooling, max_pool, pool
from two_devices import BATCH, mesh

NOTHING = ((0, 0), (0, 0))
STEM = Pooling("max", (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
SAME = dataclasses.replace(STEM, padding="SAME")
SUM = dataclasses.replace(STEM, operation="sum")
BOTH = pytest.mark.parametrize("pooling", [STEM, SUM], ids=["max", "sum"])
SIZE = (7, 6)
POOLINGS = {
    "the stem's": STEM,
    "sums": SUM,
    "no overlap": Pooling("max", (2, 2), (2, 2), NOTHING, (1, 1)),
    "uneven": Pooling("max", (2, 3), (1, 2), ((1, 0), (2, 1)), (1, 1)),
    "uneven sums": Pooling("sum", (2, 4), (1, 2), ((0, 1), (2, 1)), (1, 1)),
    "more padding than window": Pooling("max", (2, 2), (1, 1), ((3, 4), (0, 5)), (1, 1)),
    "stride over the window": Pooling("max", (2, 1), (3, 4), NOTHING, (1, 1)),
    "cropped sums": Pooling("sum", (2, 2), (1, 1), ((-1, 2), (0, -1)), (1, 1)),
    "dilated sums": Pooling("sum", (3, 2), (2, 1), ((1, 1), (0, 3)), (2, 3)),
    "sums over the image": Pooling("sum", SIZE, (1, 1), NOTHING, (1, 1)),
    "the largest of the image": Pooling("max", SIZE, (1, 1), NOTHING, (1, 1)),
}
# JAX has no gradient of these maxima.
WITHOUT_GRADIENT = {
    "dilated": Pooling("max", (3, 2), (2, 1), ((1, 1), (0, 3)), (2, 3)),
    "cropped": Pooling("max", (2, 2), (1, 1), ((-1, 2), (0, -1)), (1, 1)),
}
OTHER_DIMENSIONS = {
    "a line": ((9,), Pooling("max", (3,), (2,), ((1, 1),), (1,))),
    "sums of a line": ((9,), Pooling("sum", (3,), (2,), ((1, 1),), (2,))),
    "a volume": (
        (4, 5, 3),
        Pooling("max", (2, 3, 2), (1, 2, 2), ((1, 0), (1, 1), (0, 1)), (1,) * 3),
    ),
    "sums of a volume": ((4, 5, 3), Pooling("sum", (2,) * 3, (2,) * 3, ((0, 0),) * 3, (1,) * 3)),
}
TARGET = "resfuse_max_pool"


def ours(pooling=STEM):
    return functools.partial(pool, pooling)


def theirs(pooling=STEM):
    return pooling.plain


def integers(*shape):
    """Few of them, so that many are equal, and all sums exact."""
    return jnp.round(2 * images(*shape))


def loss(pool):
    """Each output with a weight of its own; minus infinity has none."""

    def function(x):
        y = pool(x)
        weights = jnp.arange(1.0, 1.0 + y.size, dtype=y.dtype).reshape(y.shape)
        return jnp.sum(jnp.where(jnp.isfinite(y), y, 0) * weights)

    return function


def value_and_gradient(pool):
    return lambda x: (pool(x), jax.grad(loss(pool))(x))


def assert_same(transform, *arguments, pooling=STEM):
    """Comparisons, and sums of integers."""
    got, expected = (jax.jit(transform(f(pooling)))(*arguments) for f in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def together(*transforms):
    """The transforms as one, whose results are theirs: one program takes less time to compile."""
    return lambda f: lambda *arguments: [each(f)(*arguments) for each in transforms]


def put(x, spec, kind=AxisType.Auto):
    return jax.device_put(x, NamedSharding(mesh(kind), spec))


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_is_the_reference(pooling):
    x = integers(2, *SIZE, 5)
    assert kernel_calls(ours(pooling), x)
    assert_same(value_and_gradient, x, pooling=pooling)


@pytest.mark.parametrize("pooling", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
def test_is_the_reference_without_a_gradient(pooling):
    x = integers(2, *SIZE, 5)
    assert kernel_calls(ours(pooling), x)
    assert_same(lambda f: f, x, pooling=pooling)
    with pytest.raises((NotImplementedError, TypeError)):
        jax.grad(loss(theirs(pooling)))(x)


@pytest.mark.parametrize(("size", "pooling"), OTHER_DIMENSIONS.values(), ids=OTHER_DIMENSIONS)
def test_is_the_reference_in_other_dimensions(size, pooling):
    x = integers(2, *size, 5)
    assert kernel_calls(ours(pooling), x)
    assert_same(value_and_gradient, x, pooling=pooling)


def test_gradient_where_numbers_are_not_finite():
    """Of equal ones the first has it; NaN loses it to what comes after."""
    values = jnp.array([0.0, -0.0, 1.0, 1.0, jnp.inf, -jnp.inf, jnp.nan])
    x = values[jnp.int32(3 * images(2, 9, 8, 17)) % 7]
    assert_same(lambda f: lambda x: jax.vjp(f, x)[1](jnp.ones((2, 5, 4, 17)))[0], x)


def test_eager():
    x = images(2, 7, 6, 5)
    np.testing.assert_array_equal(max_pool(x, (3, 3), (2, 2), "SAME"), SAME.plain(x))


def test_a_single_image():
    x = images(7, 6, 5)
    np.testing.assert_array_equal(max_pool(x, (3, 3), (2, 2), "SAME"), SAME.plain(x[None])[0])


def test_implementation_xla():
    x = images(2, 7, 6, 5)
    assert not kernel_calls(lambda x: max_pool(x, (3, 3), (2, 2), "SAME", "xla"), x)


@BOTH
def test_grad_of_grad(pooling):
    """Of the squared norm of the gradient, where second derivatives are not zero."""

    def squared_norm(f):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(f(x))))
        return lambda x: jnp.sum(gradient(x) ** 2)

    x = images(2, 7, 6, 5)
    got, expected = (jax.jit(jax.grad(squared_norm(f(pooling))))(x) for f in (ours, theirs))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert np.any(expected)


def test_nan():
    x = images(2, 7, 6, 5).at[0, 3, 2, 1].set(jnp.nan)
    np.testing.assert_array_equal(ours()(x), theirs()(x))
    assert jnp.isnan(ours()(x)).any()


@pytest.mark.parametrize("large", [2**31 + 1, 2**40])
def test_beyond_the_kernel(large):
    """As long as JAX takes it, the reference does."""
    x = images(2, 7, 6, 5)
    pooling = Pooling("max", (2, 2), (1, large), NOTHING, (1, 1))
    assert not kernel_calls(ours(pooling), x)
    np.testing.assert_array_equal(ours(pooling)(x), theirs(pooling)(x))


@BOTH
def test_vmap(pooling):
    axes = [functools.partial(jax.vmap, in_axes=axis, out_axes=axis) for axis in (0, 2, -1)]
    assert_same(together(*axes), integers(3, 7, 3, 5, 3), pooling=pooling)


@BOTH
def test_vmap_of_grad_and_grad_of_vmap(pooling):
    orders = together(
        lambda f: jax.vmap(jax.grad(loss(f))),
        lambda f: jax.grad(loss(jax.vmap(f))),
        lambda f: lambda x: jax.vmap(jax.vmap(f))(x[None]),
    )
    assert_same(orders, integers(3, 2, 7, 6, 5), pooling=pooling)


def test_vmap_makes_one_larger_batch():
    calls = kernel_calls(jax.vmap(ours()), images(3, 2, 7, 6, 5))
    assert calls == [(TARGET, "tensor<6x7x6x5xf32>")]


def test_checkpoint_and_scan():
    def twice(f):
        body = jax.checkpoint(lambda x, _: (f(x), None))
        return jax.grad(loss(lambda x: jax.lax.scan(body, x, length=2)[0]))

    pooling = dataclasses.replace(STEM, strides=(1, 1))
    got, expected = (jax.jit(twice(f(pooling)))(images(2, 7, 6, 5)) for f in (ours, theirs))
    np.testing.assert_array_equal(got, expected)


@BOTH
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded_batch_stays_sharded(kind, pooling):
    x = integers(4, 7, 6, 5)
    with jax.set_mesh(mesh(kind)):
        compiled = jax.jit(value_and_gradient(ours(pooling))).lower(put(x, BATCH, kind)).compile()
        got = compiled(put(x, BATCH, kind))
    jax.tree.map(np.testing.assert_array_equal, got, value_and_gradient(theirs(pooling))(x))
    assert "all-gather" not in compiled.as_text()
    assert {shard.data.shape[0] for part in got for shard in part.addressable_shards} == {2}


@pytest.mark.parametrize("spec", [P(), P(None, "batch"), P(None, None, None, "batch")], ids=str)
def test_sharded_in_other_ways(spec):
    x = images(2, 8, 6, 4)
    np.testing.assert_array_equal(jax.jit(ours())(put(x, spec)), theirs()(x))


@BOTH
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(check_vma, pooling):
    x = integers(4, 7, 6, 5)
    parts = functools.partial(
        jax.shard_map, mesh=mesh(), in_specs=BATCH, out_specs=BATCH, check_vma=check_vma
    )
    assert_same(together(parts, lambda f: parts(jax.grad(loss(f)))), x, pooling=pooling)


def test_export():
    x = images(2, 7, 6, 5)
    allowed = [export.DisabledSafetyCheck.custom_call(TARGET)]
    program = export.export(jax.jit(ours()), platforms=["cpu", "cuda"], disabled_checks=allowed)(x)
    assert f"custom_call @{TARGET}" in program.mlir_module()
    loaded = export.deserialize(program.serialize())
    np.testing.assert_array_equal(jax.jit(loaded.call)(x), theirs()(x))


def test_other_platforms_get_the_reference():
    module = export.export(jax.jit(ours()), platforms=["cuda"])(images(2, 7, 6, 5)).mlir_module()
    assert "custom_call @resfuse" not in module
    assert "reduce_window" in module


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_other_dtypes_take_the_reference(dtype):
    x = images(2, 7, 6, 5).astype(dtype)
    assert not kernel_calls(ours(), x)
    assert_same(lambda f: f, x)


@pytest.mark.parametrize("shape", [(0, 7, 6, 5), (2, 0, 6, 5), (2, 7, 6, 0)], ids=str)
def test_empty(shape):
    assert_same(value_and_gradient, jnp.ones(shape))


def test_refuses_forward_mode():
    x = images(2, 7, 6, 5)
    with pytest.raises(TypeError, match="forward mode"):
        jax.jvp(ours(), (x,), (x,))


def test_without_the_extension(monkeypatch):
    monkeypatch.setattr(ffi, "_ext", None)
    assert not kernel_calls(ours(), images(2, 7, 6, 5))
    assert_same(lambda f: f, images(2, 7, 6, 5))
