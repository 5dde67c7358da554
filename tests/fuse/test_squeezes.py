"""Sums over all pixels and the dense layers behind them: which are one call, and what it means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import nn

import agreement
import resfuse
from fuse_chains import cast, conv, explained, program_of, results
from resfuse.fusion import cascades
from resfuse.nnx.layers import SqueezeExcite

pytestmark = pytest.mark.usefixtures("any_size")
X = agreement.images(2, 9, 8, 6)


def weights(*shape):
    size = 1 / np.sqrt(np.prod(shape[:-1]))
    return agreement.on_device(np.random.default_rng(len(shape)).normal(0, size, shape))


EXPAND, DEPTHWISE, PROJECT = weights(1, 1, 6, 20), weights(3, 3, 1, 20), weights(1, 1, 20, 6)
SQUEEZE, EXCITE, BIAS = weights(1, 1, 20, 5), weights(1, 1, 5, 20), jnp.linspace(-0.5, 0.5, 20)
C = jnp.linspace(-0.2, 0.7, 5)


@pytest.fixture
def any_size(monkeypatch):
    """Cascades already for the images of these tests."""
    monkeypatch.setattr(cascades, "_LEAST", 1)


def depthwise(x):
    return nn.relu6(conv(nn.relu(conv(x, EXPAND) + BIAS), DEPTHWISE, feature_group_count=20))


@cast
def mobile(x):
    """MobileNetV3's, behind a cascade, which adds up its rows."""
    y = depthwise(x)
    gate = nn.relu(conv(y.mean((1, 2), keepdims=True), SQUEEZE) + C)
    return conv(y * nn.hard_sigmoid(conv(gate, EXCITE) + BIAS), PROJECT)


@cast
def dense(x):
    """Of Dense layers, a window over all of the image, and its reshapes."""
    y = nn.silu(conv(x, EXPAND))
    means = linen.avg_pool(y, y.shape[1:3]).reshape(len(x), -1)
    gate = nn.sigmoid(nn.silu(means @ SQUEEZE[0, 0] + C) @ EXCITE[0, 0])
    return y * gate[:, None, None]


@cast
def effective(x):
    """Of one layer (Lee and Park 2019)."""
    y = conv(x, EXPAND)
    return y * nn.hard_sigmoid(y.mean((1, 2)) @ weights(20, 20) + BIAS)[:, None, None, :]


@cast
def head(x):
    """A sum, four layers, of which three are one call, and no convolution in front."""
    y = nn.gelu(x.sum((1, 2)) @ EXPAND[0, 0])
    for _ in range(2):
        y = nn.tanh(y @ weights(20, 20))
    return y @ PROJECT[0, 0]


@cast
def used_twice(x):
    means = x.mean((1, 2))
    return nn.relu(means @ EXPAND[0, 0]) @ PROJECT[0, 0] + means


@cast
def over_rows(x):
    return nn.relu(x.mean(2) @ EXPAND[0, 0])


@cast
def channels_first(x):
    y = jnp.moveaxis(x, -1, 1).mean((2, 3))
    return nn.relu(y @ EXPAND[0, 0])


@cast
def with_a_tensor(x):
    """Numbers for each image are tensors of these layers' shape."""
    return nn.relu(x.mean((1, 2)) @ EXPAND[0, 0] + x[:, 0, 0, :1] * BIAS)


@cast
def in_a_branch(x):
    return jax.lax.cond(x[0, 0, 0, 0] > 9, lambda x: x, mobile, x)


# Of each squeeze how many layers it has, and whether it reads sums of rows.
FUNCTIONS = {
    mobile: [(2, True)],
    dense: [(2, False)],
    effective: [(1, False)],
    head: [(3, False)],
    used_twice: [],
    over_rows: [],
    channels_first: [],
    with_a_tensor: [],
    in_a_branch: [(2, True)],
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_which(function):
    plan = program_of(resfuse.fuse(function), X).plan
    squeezes = [cascade for cascade in plan.cascades if cascade.squeezed is not None]
    found = [(len(each.chains), each.row_sums is not None) for each in squeezes]
    assert found == FUNCTIONS[function]
    written = {cascade.row_sums for cascade in plan.cascades if cascade.squeezed is None}
    assert all(each.row_sums in written for each in squeezes if each.row_sums is not None)


def test_values_and_gradients():
    functions = {function.__name__: function for function in FUNCTIONS}
    differentiated = {"mobile", "dense", "head"}
    ours, exact = results(functions, X, no_gradients=functions.keys() - differentiated)
    agreement.assert_near(ours, exact)


def test_under_vmap():
    functions = {function.__name__: function for function in (mobile, effective)}
    agreement.assert_near(*results(functions, jnp.stack([X, 2 * X]), jax.vmap, functions))


def test_a_layer_of_flax():
    rngs = nnx.Rngs(0)
    layers = [nnx.Conv(*sizes, (1, 1), rngs=rngs) for sizes in ((6, 5), (5, 6))]
    layer = SqueezeExcite(*layers, "silu", nn.sigmoid)
    fused = resfuse.fuse(layer)
    assert [len(c.chains) for c in program_of(fused, X).plan.cascades] == [2]
    agreement.assert_near(fused(X), np.asarray(layer(X), np.float64))


def test_explain(capsys):
    rows, summary = explained(capsys, mobile, X)[0][1:-1], explained(capsys, mobile, X)[0][-1]
    assert [row.split(" in ")[1].split()[:2] for row in rows[:4]] == [
        ["cascade", "1"], ["cascade", "1"], ["squeeze", "1"], ["squeeze", "1"]
    ]  # fmt: skip
    assert rows[2].startswith("2x1x1x20")
    assert "bn+relu" in rows[2]
    assert summary.endswith("pools: 0")
