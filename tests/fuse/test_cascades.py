"""Chains of which each reads what the one before wrote: which of them are one call, and that it
means the same as they do, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn
from jax.sharding import NamedSharding, PartitionSpec

import agreement
import resfuse
from fuse_chains import cast, explained, program_of, results
from resfuse.fusion import cascades
from two_devices import mesh

pytestmark = pytest.mark.usefixtures("any_size")
random = np.random.default_rng(0)
X = agreement.on_device(random.normal(size=(2, 9, 8, 6)))


def weights(*shape):
    size = 1 / np.sqrt(np.prod(shape[:-1]))
    return agreement.on_device(np.random.default_rng(len(shape)).normal(0, size, shape))


EXPAND, DEPTHWISE, PROJECT = weights(1, 1, 6, 20), weights(3, 3, 1, 20), weights(1, 1, 20, 6)
BIAS = jnp.linspace(-0.5, 0.5, 20)


def conv(x, kernel, stride=1, order="NHWC"):
    groups = x.shape[order.index("C")] // kernel.shape[2]
    return lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (stride, stride), "SAME", feature_group_count=groups,
        dimension_numbers=(order, "HWIO", order), precision="highest",
    )  # fmt: skip


@cast
def inverted_residual(x):
    y = nn.relu6(conv(x, EXPAND) + BIAS)
    y = nn.relu6(conv(y, DEPTHWISE) * 2)
    return conv(y, PROJECT) + x


@cast
def excited(x):
    """The depthwise output must be whole before the projection."""
    y = nn.silu(conv(nn.silu(conv(x, EXPAND)), DEPTHWISE, 2))
    return conv(y * nn.sigmoid(y.mean((1, 2), keepdims=True)), PROJECT)


@cast
def two_blocks(x):
    y = nn.relu(conv(nn.relu(conv(x, EXPAND)), DEPTHWISE))
    y = nn.relu(conv(y, PROJECT))
    return nn.relu(conv(nn.relu(conv(y, EXPAND)), DEPTHWISE, 2))


@cast
def channels_first(x):
    y = x.transpose(0, 3, 1, 2)
    for kernel in (EXPAND, DEPTHWISE, PROJECT):
        y = jnp.tanh(conv(y, kernel, order="NCHW"))
    return y


@cast
def padded(x):
    y = jnp.pad(nn.relu(conv(x, EXPAND)), ((0, 0), (1, 1), (0, 0), (0, 0)))
    return conv(y, DEPTHWISE)


@cast
def with_two_results(x):
    """What is between is needed elsewhere, and what comes last has two users."""
    y = nn.relu(conv(x, EXPAND))
    z = jnp.tanh(conv(nn.relu(conv(y, DEPTHWISE)), PROJECT))
    return z * y.sum(), conv(z, EXPAND)


@cast
def residual_in_between(x):
    y = nn.relu(conv(x, EXPAND))
    return conv(nn.relu(conv(y, DEPTHWISE) + y), PROJECT)


@cast
def weights_from_the_images(x):
    kernel = EXPAND * x.mean()
    return conv(nn.relu(conv(x, kernel)), DEPTHWISE)


@cast
def in_a_loop(x):
    return lax.scan(lambda x, _: (inverted_residual(x), None), x, length=2)[0]


# How many chains are in each cascade.
FUNCTIONS = {
    inverted_residual: [3],
    excited: [2],
    two_blocks: [3, 2],
    channels_first: [3],
    padded: [2],
    with_two_results: [2],
    residual_in_between: [],
    weights_from_the_images: [],
    in_a_loop: [3],
}


@pytest.fixture
def any_size(monkeypatch):
    """Cascades already for the images of these tests."""
    monkeypatch.setattr(cascades, "_LEAST", 1)


def found(fused, x=X):
    return [len(cascade.chains) for cascade in program_of(fused, x).plan.cascades]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_which(function):
    assert found(resfuse.fuse(function)) == FUNCTIONS[function]


def test_values_and_gradients():
    functions = {function.__name__: function for function in FUNCTIONS}
    differentiated = {"inverted_residual", "padded"}
    ours, exact = results(functions, X, no_gradients=functions.keys() - differentiated)
    agreement.assert_near(ours, exact)


def test_under_vmap():
    functions = {function.__name__: function for function in (inverted_residual, excited)}
    agreement.assert_near(*results(functions, jnp.stack([X, 2 * X]), jax.vmap))


def test_a_batch_on_two_devices_stays_there():
    sharding = NamedSharding(mesh(), PartitionSpec("batch"))
    x, fused = jax.device_put(X, sharding), resfuse.fuse(inverted_residual)
    assert found(fused, x) == [3]
    y = fused(x)
    assert y.sharding.is_equivalent_to(sharding, y.ndim)
    agreement.assert_identical(np.asarray(y), np.asarray(fused(X)))


def test_explain(capsys):
    rows = explained(capsys, two_blocks, X)[0][1:-1]
    assert [row.split(" in cascade ")[1][0] for row in rows] == ["1", "1", "1", "2", "2"]


def test_small_images_are_calls_of_their_own(monkeypatch):
    monkeypatch.undo()
    assert found(resfuse.fuse(inverted_residual)) == []
