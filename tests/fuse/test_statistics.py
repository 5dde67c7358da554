"""``fuse`` on batch norm with the statistics of the batch, in the forms that it takes for one."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen
from jax import lax
from jax.experimental import io_callback
from jax.sharding import NamedSharding

import agreement
import resfuse
from batch_norms import OTHER, PIXELS, batch_norm, fast, norm, slow
from fuse_chains import KERNEL, A, B, X, cast, conv, halved, loss, table
from sampling import long_but
from two_devices import BATCH, mesh


def in_two_steps(x):
    y = conv(x)
    mean = y.mean((1, 2)).mean(0)
    return norm(y, mean, (-((y - mean) ** 2)).sum(0).sum((0, 1)) / -PIXELS)


def folded(x):
    y = conv(x) + B
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    multiplier = lax.rsqrt(var + 1e-3) * A
    return y * multiplier + (B - mean * multiplier)


def by_roots(x):
    y = conv(x) - B
    mean, var = slow(y, keepdims=True)
    return (A * 3) * ((y - mean) / jnp.sqrt(1e-5 + var)) - B


def by_flax(x):
    layer = linen.BatchNorm(use_running_average=False, use_fast_variance=False)
    state = {"params": {"scale": A, "bias": B}, "batch_stats": {"mean": B, "var": A}}
    return layer.apply(state, conv(x), mutable=["batch_stats"])


def by_names(x):
    """One image at a time, under ``vmap``."""

    def one(x):
        y = conv(x[None])[0]
        mean = lax.pmean(y.mean((0, 1)), "batch")
        return norm(y, mean, lax.pmean(((y - mean) ** 2).mean((0, 1)), "batch"))

    return jax.vmap(one, axis_name="batch")(x)


def channels_first(x):
    y = conv(x).transpose(0, 3, 1, 2)
    mean, var = fast(y, (0, 2, 3), keepdims=True)
    y = (y - mean) * lax.rsqrt(var + 1e-5) * A[:, None, None]
    return jax.nn.relu(y + x.transpose(0, 3, 1, 2))


def statistics_elsewhere(x):
    """Running averages, an unbiased variance, moments; read before and after the norm."""
    y = conv(x)
    mean, var = fast(y)
    average = 0.9 * B + 0.1 * mean
    y = jax.nn.relu(norm(y, mean, var) + jnp.sin(x))
    square = jnp.square(conv(x) * 1).mean()
    return y, average, 0.9 * A + 0.1 * var * PIXELS / (PIXELS - 1), y * mean, square


def moments(x):
    y = conv(x)
    total, squares = y.sum((0, 1, 2)), (y * y).sum((0, 1, 2), keepdims=True)
    mean = total / PIXELS
    return norm(y, mean, squares / PIXELS - mean * mean), total, squares


def two_branches(x):
    """The shortcut's statistics are read before the other branch is computed."""
    first = conv(x)
    mean, var = fast(first)
    short = norm(first, mean, var)
    second = conv(jax.nn.relu(x * mean), OTHER)
    return jax.nn.relu(norm(second, *slow(second)) + short), mean


def block(x):
    return jax.nn.relu(batch_norm(conv(x)) + x)


@jax.custom_vjp
def clipped(x):
    return block(x)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, cotangent: (cotangent.clip(-0.5, 0.5) * x,))


def scan(x):
    def body(x, momentum):
        y = conv(x)
        mean, var = fast(y)
        return jax.nn.relu(norm(y, mean, var)), momentum * mean

    return lax.scan(body, x, jnp.asarray([0.1, 0.2], x.dtype))


def dense(x):
    y = batch_norm(conv(x))
    return jax.nn.relu(batch_norm(conv(jax.nn.relu(y), OTHER)) + y)


# The "fused" column, a row for each convolution.
FOUND = {
    "fast variance": (lambda x: batch_norm(conv(x)), ["bn(batch)"]),
    "slow variance": (lambda x: (lambda y: norm(y, *slow(y)))(conv(x)), ["bn(batch)"]),
    "Flax's slow variance": (by_flax, ["bn(batch)"]),
    "relu": (lambda x: jax.nn.relu(batch_norm(conv(x) + B)), ["bn(batch)+relu"]),
    "maximum": (lambda x: jnp.maximum(batch_norm(conv(x)), 0), ["bn(batch)"]),
    "relu6": (lambda x: jax.nn.relu6(batch_norm(conv(x)) + x), ["bn(batch)+add+relu6"]),
    "leaky relu": (lambda x: jax.nn.leaky_relu(batch_norm(conv(x))), ["bn(batch)+leaky_relu"]),
    "residual": (lambda x: jax.nn.relu(x + batch_norm(conv(x))), ["bn(batch)+add+relu"]),
    "in two steps": (in_two_steps, ["bn(batch)"]),
    "multiplied out": (folded, ["bn(batch)"]),
    "by roots": (by_roots, ["bn(batch)"]),
    "by names": (by_names, ["bn(batch)"]),
    "channels first": (channels_first, ["bn(batch)+add+relu"]),
    "broadcast": (
        lambda x: (lambda y: norm(y, *(jnp.broadcast_to(s, y.shape) for s in fast(y))))(conv(x)),
        ["bn(batch)"],
    ),
    "groups, strides and padding": (
        lambda x: batch_norm(
            conv(x, KERNEL[:, :, :2], (2, 1), ((2, 0), (0, 1)), feature_group_count=2)
        ),
        ["bn(batch)"],
    ),
    "nothing but the norm": (
        lambda x: (lambda y: (y - y.mean((0, 1, 2))) * lax.rsqrt(y.var((0, 1, 2))))(conv(x)),
        ["bn(batch)"],
    ),
    "statistics elsewhere": (statistics_elsewhere, ["bn(batch)+add+relu", "scale+square"]),
    "moments": (moments, ["bn(batch)"]),
    "statistics before another branch": (two_branches, ["bn(batch)", "bn(batch)+add+relu"]),
    "result used twice": (dense, ["bn(batch)", "bn(batch)+add+relu"]),
    "scan": (scan, ["bn(batch)+relu"]),
    "cond": (
        lambda x: lax.cond(x[0, 0, 0, 0] > 0, lambda x: x, block, x), ["bn(batch)+add+relu"]
    ),
    "remat": (jax.checkpoint(block), ["bn(batch)+add+relu"]),
    "custom_vjp": (lambda x: clipped(x), ["bn(batch)+add+relu"]),
    "jit": (lambda x: jax.jit(batch_norm)(jax.jit(conv)(x)), ["bn(batch)"]),
    "pooled": (lambda x: batch_norm(conv(x)).mean((1, 2)), ["bn(batch)"]),
    "twice": (lambda x: batch_norm(batch_norm(conv(x))), ["bn(batch)"]),
}  # fmt: skip

CASES = {name: cast(function) for name, (function, _) in FOUND.items()}


KEPT, compared = halved(CASES)


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


@pytest.mark.parametrize("name", FOUND)
def test_is_found(name, capsys):
    found, _, summary = table(capsys, CASES[name], X)
    assert sorted(found) == sorted(FOUND[name][1])
    assert summary.startswith(f"{len(found)} of {len(found)} convolutions on the kernel")
    program = jax.jit(resfuse.fuse(CASES[name])).lower(X).as_text()
    calls = sum("bn(batch)" in parts for parts in found)
    assert program.count("custom_call @resfuse_conv_statistics") == calls
    assert "stablehlo.convolution" not in program


def check(ours, function, *args):
    agreement.assert_near(ours, agreement.in_float64(jax.jit(function), *args))


def test_each_part_under_vmap_has_its_own_statistics():
    function = lambda x: (block(x), jax.grad(loss(block))(x))  # noqa: E731
    fast = lambda x: (resfuse.fuse(block)(x), jax.grad(loss(resfuse.fuse(block)))(x))  # noqa: E731
    x = jnp.stack([X, X[::-1] / 2 + 1])
    check(jax.jit(jax.vmap(fast))(x), cast(jax.vmap(function)), x)


def test_a_batch_on_two_devices_has_the_statistics_of_the_whole():
    x = jnp.concatenate([X, 2 * X + 1])
    y = jax.jit(resfuse.fuse(statistics_elsewhere))(jax.device_put(x, NamedSharding(mesh(), BATCH)))
    assert {shard.data.shape[0] for shard in y[0].addressable_shards} == {2}
    check(jax.device_get(y), cast(statistics_elsewhere), x)


def test_parts_under_shard_map_have_their_own_statistics():
    mapped = functools.partial(jax.shard_map, mesh=mesh(), in_specs=BATCH, out_specs=BATCH)
    check(jax.device_get(jax.jit(mapped(resfuse.fuse(block)))(X)), cast(mapped(block)), X)


@pytest.mark.parametrize("depends", [False, True], ids=["independent", "residual"])
def test_effects_stay_in_their_order(depends, capsys):
    seen = []

    def report(name, x):
        def callback(total):
            seen.append(name)
            return total

        return io_callback(callback, jax.typeof(x), x, ordered=True)

    def function(x):
        y = conv(x)
        mean, var = fast(y)
        report("mean", mean)
        shortcut = report("images", x)
        return norm(y, mean, var) + (shortcut if depends else x)

    check(resfuse.fuse(function)(X), cast(lambda x: batch_norm(conv(x)) + x), X)
    jax.effects_barrier()
    assert seen == ["mean", "images"]
    # An image's callback that must follow the statistics cannot come before the call.
    found, _, _ = table(capsys, function, X)
    assert found == (["-"] if depends else ["bn(batch)+add"])
