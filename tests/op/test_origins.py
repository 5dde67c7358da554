"""Layers in turn: what lies between them is made again, and everything else stays the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from agreement import assert_as_accurate, assert_near, images, in_float64, on_device
from cases import kernel_calls
from resfuse import ops
from resfuse.kernel.origin import Made
from sampling import long_but
from two_devices import mesh

# (kernel, strides, groups): of an inverted bottleneck, and many that are alike.
BOTTLENECK = (((1, 1, 4, 12), 1, 1), ((3, 3, 1, 12), 2, 12), ((1, 1, 12, 4), 1, 1))
ALIKE = (((3, 3, 1, 12), 1, 12),) * 6
NARROW = (((3, 3, 1, 7), 1, 7),) * 3
MADE_AGAIN = {
    "none": None,
    "relu": jax.nn.relu,
    "clip": jax.nn.relu6,
    "leaky": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
}
AXES = {"x": (0, None), "weights": (None, 0), "both": (0, 0)}
KEPT = {"hard swish": jax.nn.hard_swish, "gelu": jax.nn.gelu}
ACTIVATIONS = MADE_AGAIN | KEPT


@functools.cache
def weights(layers=BOTTLENECK):
    random = np.random.default_rng(0)

    def of_layer(kernel):
        size = 1 / np.sqrt(np.prod(kernel[:-1]))
        vectors = {name: random.uniform(0.2, 0.9, kernel[-1:]) for name in ("scale", "bias")}
        return {"kernel": random.normal(0, size, kernel)} | vectors

    return jax.tree.map(on_device, [of_layer(kernel) for kernel, *_ in layers])


def in_turn(x, weights, activation, implementation=None, gives_origin=True, layers=BOTTLENECK):
    """The output and all statistics; the last layer has no activation."""
    made, statistics = Made(x), []
    for number, (arrays, (_, strides, groups)) in enumerate(zip(weights, layers, strict=True), 1):
        is_last = number == len(layers)
        made, *found = ops.train_layer(
            made,
            **arrays,
            conv_bias=arrays["bias"] / 2,
            residual=None,
            activation=None if is_last else activation,
            epsilon=1e-3,
            implementation=implementation,
            gives_origin=gives_origin and not is_last,
            strides=strides,
            padding="SAME",
            feature_group_count=groups,
            precision=None,
        )
        statistics.append(found)
    return made.y, statistics


def loss(activation, implementation=None, **options):
    def total(x, weights):
        y, statistics = in_turn(x, weights, activation, implementation, **options)
        return jnp.sum(jnp.sin(y)) + sum(map(jnp.sum, jax.tree.leaves(statistics)))

    return total


def gradients(activation, implementation=None, **options):
    return jax.jit(jax.grad(loss(activation, implementation, **options), (0, 1)))


@pytest.mark.parametrize("name", long_but(["relu", "silu", "hard swish"], ACTIVATIONS))
def test_values_and_gradients(name):
    x, activation = images(3, 6, 5, 4), ACTIVATIONS[name]
    for function in (
        lambda implementation: functools.partial(
            in_turn, activation=activation, implementation=implementation
        ),
        lambda implementation: gradients(activation, implementation),
    ):
        ours, reference = function(None), function("xla")
        exact = in_float64(reference, x, weights())
        assert_as_accurate(ours(x, weights()), reference(x, weights()), exact)


@pytest.mark.parametrize("name", long_but(["relu"], ["relu", "silu"]))
def test_second_derivatives(name):
    """What is made again is differentiated too."""

    def second(implementation):
        def size(x, weights):
            first = gradients(MADE_AGAIN[name], implementation)(x, weights)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(first))

        return jax.jit(jax.grad(size, (0, 1)))

    x = images(3, 6, 5, 4)
    exact = in_float64(second("xla"), x, weights())
    assert_as_accurate(second(None)(x, weights()), second("xla")(x, weights()), exact)


@pytest.mark.parametrize("name", long_but(["both"], AXES))
def test_vmap(name):
    axes, arrays = AXES[name], (images(3, 6, 5, 4), weights())
    stacked = [
        jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 0.8]), each) if axis == 0 else each
        for each, axis in zip(arrays, axes, strict=True)
    ]
    ours, reference = (jax.vmap(gradients(jax.nn.relu6, i), axes) for i in (None, "xla"))
    assert_near(ours(*stacked), in_float64(reference, *stacked))


def test_unbatched():
    x = images(6, 5, 4)
    exact = in_float64(gradients(jax.nn.relu, "xla"), x, weights())
    assert_near(gradients(jax.nn.relu)(x, weights()), exact)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded(kind):
    x = images(4, 6, 5, 4)
    devices = mesh(kind)
    with jax.set_mesh(devices):
        split = jax.device_put(x, NamedSharding(devices, P("batch")))
        whole = jax.device_put(weights(), NamedSharding(devices, P()))
        compiled = gradients(jax.nn.relu).lower(split, whole).compile()
        got = jax.tree.map(np.asarray, compiled(split, whole))
    assert_near(got, in_float64(gradients(jax.nn.relu, "xla"), x, weights()))
    assert "all-gather" not in compiled.as_text()


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(check_vma):
    """Each device normalises its part of the batch; the weights' gradient is the sum.

    Of other numbers of channels than above: JAX 0.12 takes what it traced on an Explicit mesh for
    this, of plain functions too.
    """
    x, arrays = images(4, 6, 5, 7), weights(NARROW)

    def total(x, weights):
        return jax.lax.psum(loss(jax.nn.relu, layers=NARROW)(x, weights), "batch")

    parts = jax.shard_map(
        total, mesh=mesh(), in_specs=(P("batch"), P()), out_specs=P(), check_vma=check_vma
    )

    def in_halves(x, weights):
        of_half = loss(jax.nn.relu, "xla", layers=NARROW)
        return sum(of_half(half, weights) for half in (x[:2], x[2:]))

    got = jax.jit(jax.grad(parts, (0, 1)))(x, arrays)
    assert_near(got, in_float64(jax.jit(jax.grad(in_halves, (0, 1))), x, arrays))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_made_again(name):
    """Between the layers; the images of the first were made by none."""
    calls = [
        call
        for call, _ in kernel_calls(gradients(ACTIVATIONS[name]), images(3, 6, 5, 4), weights())
    ]
    assert calls.count("resfuse_normalize_again") == (2 if name in MADE_AGAIN else 0)


def test_what_is_made_again_is_not_kept():
    """Neither does XLA find that it was there before, nor make it long before it is read."""
    x, arrays = images(8, 32, 32, 12), weights(ALIKE)

    def most(gives_origin):
        gradient = gradients(jax.nn.relu, gives_origin=gives_origin, layers=ALIKE)
        memory = gradient.lower(x, arrays).compile().memory_analysis()
        return memory.temp_size_in_bytes / x.nbytes

    # Five lie between the layers: the first is there while its layer's gradients are computed,
    # and for the last there is memory then.
    assert most(True) <= most(False) - 3
