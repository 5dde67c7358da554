"""Large activations a few images at a time: where ``fuse`` does so, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import resfuse
from agreement import EPSILON, images, on_device
from fuse_chains import program_of
from resfuse.fusion import cascades, slices
from resfuse.kernel.portion import Portion
from two_devices import mesh

BATCH, SIZE, CHANNELS = 6, 64, 16


def conv(x, *kernel_shape, strides=1):
    kernel = on_device(np.random.default_rng(1).normal(0, 0.1, kernel_shape))
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (strides, strides), "SAME", dimension_numbers=numbers
    )


def block(x):
    y = jax.nn.relu(conv(x, 3, 3, CHANNELS, CHANNELS))
    return jax.nn.relu(conv(y, 3, 3, CHANNELS, CHANNELS) + x)


def pool(x):
    window, pads = (1, 3, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), pads)


def network(x):
    x = pool(jax.nn.relu(conv(x, 7, 7, 3, CHANNELS, strides=2)))
    return block(block(x)).mean((1, 2))


def last_is_needed_twice(x):
    y = block(jax.nn.relu(conv(x, 3, 3, 3, CHANNELS)))
    return y * y.mean()


def first_is_needed_later(x):
    y = jax.nn.relu(conv(x, 3, 3, 3, CHANNELS))
    return block(y), y.sum()


def over_the_batch(x):
    y = jax.nn.relu(conv(x, 3, 3, 3, CHANNELS))
    return block(y - y.mean(0))


def weights_from_the_images(x):
    kernel = x[:3, :3, 0, :, None] * jnp.ones(CHANNELS)
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def many_weights(x):
    return conv(jax.nn.relu(conv(x, 3, 3, 3, CHANNELS)), 31, 31, CHANNELS, CHANNELS)


def activations(x):
    y = jax.nn.mish(conv(x, 3, 3, 3, CHANNELS))
    y = jax.nn.relu6(y + jnp.tanh(conv(y, 3, 3, CHANNELS, CHANNELS)))
    z = conv(jax.nn.relu(y * 2 - 1), 3, 3, CHANNELS, CHANNELS)  # the chain before has two outputs
    return jax.nn.hard_swish(z) * y


def one_number_for_each_image(x):
    """The gate is no part of a slice, as it is computed outside of all chains."""
    gate = jax.nn.sigmoid(x.mean((1, 2)))[:, None, None, :1]
    return block(jax.nn.silu(conv(x, 3, 3, 3, CHANNELS)) * (gate * jnp.ones(CHANNELS)))


def excited(x):
    """Squeeze and excitation, whose sums are over each image's own pixels."""
    y = jax.nn.relu(conv(conv(x, 1, 1, 3, CHANNELS), 3, 3, CHANNELS, CHANNELS))
    gate = jax.nn.relu(conv(y.mean((1, 2), keepdims=True), 1, 1, CHANNELS, CHANNELS // 2))
    gate = jax.nn.sigmoid(conv(gate, 1, 1, CHANNELS // 2, CHANNELS))
    return block(conv(y * gate, 1, 1, CHANNELS, CHANNELS))


@jax.custom_jvp
def traced_for_one_shape(y):
    return jnp.tanh(y)


traced_for_one_shape.defjvp(lambda y, t: (traced_for_one_shape(*y), 2 * t[0]))


def function_of_its_own(x):
    return block(block(traced_for_one_shape(conv(jnp.abs(x), 3, 3, 3, CHANNELS))))


# How many nodes run slice by slice: convolutions and pools; a single one has nothing to keep.
FUNCTIONS = {
    network: 7,
    last_is_needed_twice: 3,
    first_is_needed_later: 0,
    over_the_batch: 0,
    weights_from_the_images: 0,
    many_weights: 0,
    activations: 3,
    one_number_for_each_image: 0,
    excited: 6,
    function_of_its_own: 0,
}


@pytest.fixture
def small(monkeypatch):
    """Slices of a few images already for the activations of these tests."""
    monkeypatch.setattr(slices, "_LEAST", 1)
    monkeypatch.setattr(cascades, "_LEAST", 1 << 60)  # each convolution is a node
    monkeypatch.setattr(slices, "_MOST", 2 * 4 * 3 * SIZE * SIZE * CHANNELS)


def agree(got, expected):
    def check(got, expected):
        scale = np.abs(expected).max()
        # Sums of a few hundred products, six layers deep; Winograd costs three bits on top.
        assert np.abs(got - expected).max() <= 8 * 6 * 150 * EPSILON * scale

    jax.tree.map(check, got, expected)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_slices(function):
    x, fused = images(BATCH, SIZE, SIZE, 3), resfuse.fuse(function)
    found = program_of(fused, x).plan.slices
    assert (len(found.nodes) if found else 0) == FUNCTIONS[function]
    assert not found or 1 <= found.images < BATCH
    agree(fused(x), function(x))


@pytest.fixture
def portions(monkeypatch):
    """The first reading, and the first result, of calls that copy no images there."""
    found, lowered = [], Portion.lowered

    def record(portion, call):
        changed = lowered(portion, call)
        if changed is not call:
            found.append(
                (changed.attributes["portion_reads"], changed.attributes["portion_writes"])
            )
        return changed

    monkeypatch.setattr(Portion, "lowered", record)
    return found


def ends_in_a_folded_call(x):
    """Four outputs of the transposed convolution are one pixel of the call (kernel/fold.py)."""
    y = block(jax.nn.relu(conv(x, 3, 3, 3, CHANNELS)))
    kernel = on_device(np.random.default_rng(2).normal(0, 0.1, (4, 4, CHANNELS, 3)))
    y = jax.lax.conv_transpose(y, kernel, (2, 2), "SAME")
    return y * y.mean()


def ends_in_a_pool(x):
    y = pool(block(jax.nn.relu(conv(x, 3, 3, 3, CHANNELS))))
    return y * y.mean()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (last_is_needed_twice, [(True, False), (False, True)]),
        (ends_in_a_pool, [(True, False)]),
        (ends_in_a_folded_call, [(True, False)]),
    ],
)
def test_calls_read_and_write_whole_arrays(portions, function, expected):
    x, fused = images(BATCH, SIZE, SIZE, 3), resfuse.fuse(function)
    agree(fused(x), function(x))
    assert portions == expected


@pytest.mark.usefixtures("small")
def test_cascades_in_slices(monkeypatch):
    """The stem, its pooling, both convolutions of each block as one call, and the mean."""
    monkeypatch.setattr(cascades, "_LEAST", 1)
    x, fused = images(BATCH, SIZE, SIZE, 3), resfuse.fuse(network)
    plan = program_of(fused, x).plan
    assert [len(cascade.chains) for cascade in plan.cascades] == [2, 2]
    assert len(plan.slices.nodes) == 5
    agree(fused(x), network(x))


@pytest.mark.usefixtures("small")
def test_squeezes_in_slices(monkeypatch):
    """A cascade that adds up its rows, what reads those sums, the excitation and the block."""
    monkeypatch.setattr(cascades, "_LEAST", 1)
    x, fused = images(BATCH, SIZE, SIZE, 3), resfuse.fuse(excited)
    plan = program_of(fused, x).plan
    assert [cascade.row_sums is not None for cascade in plan.cascades] == [True, False, True]
    assert len(plan.slices.nodes) == 4
    agree(fused(x), excited(x))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("function", [network, excited])
def test_gradients_and_batching(function):
    x, fused = images(BATCH, SIZE, SIZE, 3), resfuse.fuse(function)
    gradient, expected = (jax.grad(lambda x, f=f: f(x).sum())(x) for f in (fused, function))
    agree(gradient, expected)
    agree(jax.vmap(fused)(x[None]), function(x)[None])


@pytest.mark.usefixtures("small")
def test_a_batch_on_two_devices_stays_there():
    sharding = NamedSharding(mesh(), PartitionSpec("batch"))
    x, fused = jax.device_put(images(BATCH, SIZE, SIZE, 3), sharding), resfuse.fuse(network)
    assert program_of(fused, x).plan.slices is None
    y = fused(x)
    assert y.sharding.is_equivalent_to(sharding, y.ndim)


def test_small_activations_run_at_once():
    assert program_of(resfuse.fuse(network), images(BATCH, SIZE, SIZE, 3)).plan.slices is None
