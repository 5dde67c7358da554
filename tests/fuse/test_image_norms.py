"""``fuse`` on norms by an image's own statistics, in all forms; and on what is only alike.

Layer norm, RMS norm, group norm and instance norm.
"""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import agreement
import resfuse
from cases import kernel_calls
from fuse_chains import A, B, X, cast, conv, explained, halved, program_of
from resfuse.fusion import cascades, slices
from resfuse.kernel.gate import Gate
from two_devices import BATCH, mesh

C = X.shape[-1]
DENSE = agreement.images(C, C)


def fast(x):
    mean = x.mean(-1, keepdims=True)
    return mean, jnp.maximum(0, jnp.square(x).mean(-1, keepdims=True) - mean**2)


def slow(x):
    mean = x.mean(-1, keepdims=True)
    return mean, ((x - mean) ** 2).mean(-1, keepdims=True)


def norm(x, mean, var, epsilon=1e-5):
    return (x - mean) / jnp.sqrt(var + epsilon) * A + B


def by(statistics, of=lambda x: x):
    """The norm of a function of ``x``."""

    def function(x):
        y = of(x)
        return norm(y, *statistics(y))

    return function


def rms(x, epsilon=0.125):
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon) * A


def without_axis(x):
    """Statistics that lack the axis until they are needed."""
    mean = x.sum(-1) / C
    var = jnp.square(x).sum(-1) / C - mean * mean
    multiplier = lax.rsqrt(var + 1e-5)[..., None] * (A * 3)
    return x * multiplier + (B - jnp.expand_dims(mean, -1) * multiplier)


def by_linen(x, kind=linen.LayerNorm, **options):
    layer = kind(**options)
    shapes = jax.eval_shape(layer.init, agreement.key(0), x)
    values = {"scale": A, "bias": B}
    variables = {"params": {name: values[name] for name in shapes.get("params", {})}}
    return layer.apply(variables, x)


def by_nnx(x):
    layer = nnx.LayerNorm(C, rngs=nnx.Rngs(0), use_fast_variance=False)
    layer.scale, layer.bias = nnx.Param(A), nnx.Param(B)
    return layer(x)


def block(x):
    """ConvNeXt's, and what the norm reads is needed as well."""
    y = conv(x)
    x, y = x * y, norm(y, *slow(y))
    return x + jax.nn.gelu(y @ DENSE) @ DENSE


def in_a_loop(x):
    def body(x, epsilon):
        del epsilon
        return x + by(fast, conv)(x), None

    return lax.scan(body, x, jnp.arange(2.0).astype(x.dtype))[0]


def twice(x):
    return rms(by(slow)(x) + x)


def in_groups(x):
    """Reshaped for all of it, and back."""
    y = x.reshape(*x.shape[:-1], 2, 2)
    mean, var = (f(y, (1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
    return ((y - mean) * lax.rsqrt(var + 1e-3)).reshape(x.shape) * A + B


def over_pixels(x, **options):
    return norm(x, x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True, **options))


def residual_block(x):
    """A diffusion model's."""
    y = conv(jax.nn.silu(by_linen(x, linen.GroupNorm, num_groups=2)))
    return x + conv(jax.nn.silu(by_linen(y, linen.GroupNorm, num_groups=4)))


def by_nnx_in_groups(x):
    layer = nnx.GroupNorm(C, num_groups=2, rngs=nnx.Rngs(0), use_fast_variance=False)
    layer.scale, layer.bias = nnx.Param(A), nnx.Param(B)
    return jax.nn.relu(layer(x))


# A function and how many calls of norms it becomes.
TAKEN = {
    "fast variance": (by(fast, conv), 1),
    "slow variance": (by(slow), 1),
    "jnp.var": (lambda x: norm(x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True)), 1),
    "without the axis": (without_axis, 1),
    "RMS": (lambda x: rms(conv(x)), 1),
    "Linen": (by_linen, 1),
    "Linen, slow": (functools.partial(by_linen, use_fast_variance=False), 1),
    "Linen, no scale": (functools.partial(by_linen, use_scale=False), 1),
    "Linen, no bias": (functools.partial(by_linen, use_bias=False), 1),
    "Linen's RMS": (functools.partial(by_linen, kind=linen.RMSNorm), 1),
    "NNX": (by_nnx, 1),
    "jax.nn": (lambda x: jax.nn.standardize(x, epsilon=1e-5), 1),
    "a matrix": (by(slow, lambda x: x[0, 0]), 1),
    "the batch": (jax.vmap(by(fast)), 1),
    "ConvNeXt's block": (block, 1),
    "a loop": (in_a_loop, 1),
    "two": (twice, 2),
    "Linen's groups": (functools.partial(by_linen, kind=linen.GroupNorm, num_groups=2), 1),
    "one group": (functools.partial(by_linen, kind=linen.GroupNorm, num_groups=1), 1),
    "Linen's instances": (functools.partial(by_linen, kind=linen.InstanceNorm), 1),
    "NNX's groups": (by_nnx_in_groups, 1),
    "in groups": (in_groups, 1),
    "over the pixels": (over_pixels, 1),
    "a diffusion model's block": (residual_block, 2),
    "leaky ReLU": (lambda x: jax.nn.leaky_relu(over_pixels(x)), 1),
    "scaled twice": (lambda x: by(slow)(x) * A, 1),
}


def mean_needed(x):
    mean, var = slow(x)
    return norm(x, mean, var), mean


def mean_of_pixels_needed(x):
    mean = x.mean((1, 2), keepdims=True)
    return norm(x, mean, x.var((1, 2), keepdims=True)), mean


def of_another(x):
    return norm(x, *slow(conv(x)))


def scaled_before(x):
    """The scale is inside the sum: the variance is another."""
    y = x * A
    return (x - y.mean(-1, keepdims=True)) * lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)


def unbiased(x):
    mean = x.mean(-1, keepdims=True)
    return norm(x, mean, x.var(-1, keepdims=True, ddof=1))


LEFT = {
    "the mean of the pixels is needed": mean_of_pixels_needed,
    "over the pixels, unbiased": functools.partial(over_pixels, ddof=1),
    "over everything": lambda x: norm(x, x.mean((1, 2, 3), keepdims=True), x.var()),
    "the mean is needed": mean_needed,
    "of another": of_another,
    "scaled before": scaled_before,
    "unbiased": unbiased,
    "outside the root": lambda x: (x - slow(x)[0]) / (jnp.sqrt(slow(x)[1]) + 0.1),
    "scale of each pixel": lambda x: (x - slow(x)[0]) * x[..., :1],
    "the mean alone": lambda x: x - x.mean(-1, keepdims=True),
    "one channel": by(slow, lambda x: x[..., :1]),
}
FUNCTIONS = {name: function for name, (function, _) in TAKEN.items()} | LEFT
KEPT, results_of = halved({name: cast(function) for name, function in FUNCTIONS.items()})


def norms(function, *args):
    names = (name for name, _ in kernel_calls(function, *(args or [X])))
    return sum(name in ("resfuse_layer_norm", "resfuse_group_norm") for name in names)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_found(capsys, name):
    expected = dict.fromkeys(LEFT, 0) | {name: count for name, (_, count) in TAKEN.items()}
    assert norms(resfuse.fuse(FUNCTIONS[name])) == expected[name]
    (*_, summary), _ = explained(capsys, FUNCTIONS[name], X)
    assert (f", norms: {expected[name]}" in summary) == bool(expected[name])


def test_other_types_are_left():
    assert norms(resfuse.fuse(jax.nn.standardize), X.astype(jnp.float16)) == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients(name):
    ours, theirs = results_of(name)
    agreement.assert_near(ours, theirs)


def test_batches_of_batches():
    fast = resfuse.fuse(block)
    agreement.assert_identical(jax.vmap(fast)(X[None])[0], jax.jit(fast)(X))


def test_a_batch_on_two_devices():
    """Each has the call for its images."""
    sharding = NamedSharding(mesh(), BATCH)
    y = jax.jit(resfuse.fuse(block))(jax.device_put(X, sharding))
    assert y.sharding.is_equivalent_to(sharding, y.ndim)
    agreement.assert_near(y, agreement.in_float64(jax.jit(cast(block)), X))


# Of the images and of the scale, and whether that is taken.
SPECS = {
    "batch": (BATCH, P(), True),
    "rows": (P(None, "batch"), P(), False),
    "channels": (P(None, None, None, "batch"), P(), False),
    "scale": (P(), P("batch"), True),
}


@pytest.mark.parametrize("name", SPECS)
def test_an_explicit_mesh(name):
    *specs, taken = SPECS[name]

    def function(x, scale):
        return by(slow)(x) * scale

    with jax.set_mesh(mesh(AxisType.Explicit)):
        shardings = tuple(NamedSharding(mesh(AxisType.Explicit), spec) for spec in specs)
        args = jax.device_put((X, A), shardings)
        assert len(program_of(resfuse.fuse(function), *args).norms) == taken
        got, plain = (jax.jit(f)(*args) for f in (resfuse.fuse(function), function))
    assert jax.typeof(got) == jax.typeof(plain)
    agreement.assert_near(got, agreement.in_float64(cast(function), X, A))


def test_in_slices(monkeypatch):
    """A few images at a time, as all that stands between convolutions."""
    monkeypatch.setattr(slices, "_LEAST", 1)
    monkeypatch.setattr(slices, "_MOST", 4 * 3 * X.size)
    monkeypatch.setattr(cascades, "_LEAST", 1 << 60)

    def network(x):
        for _ in range(4):
            x = by(slow, conv)(x)
        return x

    x = jnp.concatenate([X] * 4)
    fast = resfuse.fuse(network)
    assert len(program_of(fast, x).plan.slices.nodes) == 8
    agreement.assert_near(fast(x), agreement.in_float64(jax.jit(cast(network)), x))


@pytest.mark.parametrize(
    ("function", "inside"),
    [
        (lambda x: jax.nn.silu(over_pixels(x)), True),
        (lambda x: jax.nn.relu(over_pixels(x)), True),
        (lambda x: jax.nn.relu6(over_pixels(x)), True),
        (lambda x: jax.nn.gelu(over_pixels(x)), False),
        (lambda x: jax.nn.relu(over_pixels(x) + x), False),
        (lambda x: (lambda y: (y, jax.nn.relu(y)))(over_pixels(x)), False),
    ],
    ids=["silu", "relu", "relu6", "gelu", "a residual", "needed before it"],
)
def test_what_stands_behind_a_group_norm(function, inside):
    (found,) = program_of(resfuse.fuse(function), X).norms
    assert (found.ending != Gate()) == inside
