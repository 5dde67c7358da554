"""What stands before a convolution of single pixels: in its call where no other can have it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

import agreement
import resfuse
from fuse_chains import A, B, X, cast, conv, results, table
from winograd_oracle import TOLERANCE

random = np.random.default_rng(1)
POINT, WIDE = (
    agreement.on_device(random.normal(0, channels**-0.5, size=(1, 1, channels, 4)))
    for channels in (4, 12)
)
WINDOW = agreement.on_device(random.normal(0, 1 / 24, size=(3, 3, 64, 32)))
GATES = agreement.on_device(random.normal(0, 0.5, size=(1, 1, 4, 4)))


def bn(x, scale=A, shift=B):
    return (x - 0.1) * (scale / 0.7) + shift


def excitation(x):
    return nn.sigmoid(conv(x.mean((1, 2), keepdims=True), GATES))


def excited(x):
    y = conv(x)
    return conv(y * excitation(y), POINT)


def by_maximum(x):
    y = conv(x)
    return conv(jnp.maximum(bn(y), 0), POINT) + y


def twice(x):
    """The activated value has two readers, of which one skips pixels, and its source a third."""
    y = conv(x) + x
    z = nn.relu(bn(y))
    return conv(z, POINT) + y, conv(z, POINT, strides=(2, 2))


def pooled(x):
    y = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
    return conv(nn.relu(bn(y)), POINT)


def dense(x):
    """Concatenations of concatenations, which the last line reads as one array."""
    y = jnp.concatenate([x, conv(nn.relu(bn(x)), POINT)], -1)
    scale = jnp.concatenate([A, B, A])
    z = jnp.concatenate([y, conv(nn.relu(bn(y, scale[:8], scale[4:])), WIDE[:, :, :8])], -1)
    last = conv(nn.relu(bn(z, scale, scale[::-1])), WIDE)
    return last + conv(z, WIDE), jnp.concatenate([z, x], -1).mean((1, 2))


def skipped(x, channels=64):
    """A concatenation in front of a window, as in a U-Net: Winograd's from 32 channels on."""
    y = jnp.tile(jnp.tile(x, (1, 2, 2, 1)), channels // 8)
    joined = jnp.concatenate([y, nn.tanh(y)], -1)
    return nn.relu(conv(joined, WINDOW[:, :, :channels]))


def scaled(x):
    y = conv(x)
    return conv(-(y * A), POINT), y


def signal(x):
    """In one dimension."""
    y = x.reshape(2, 30, 4)
    return conv(nn.relu(bn(y)), POINT[0], (2,), dimension_numbers=("NWC", "WIO", "NWC")), y


HEADS = {  # the function, and the column "fused"
    "squeeze and excitation": (excited, ["-", "scale+sigmoid", "excitation:"]),
    "a maximum, and a residual": (by_maximum, ["-", "bn+relu: add"]),
    "two readers": (twice, ["add", "bn+relu: add", "bn+relu:"]),
    "behind a pooling": (pooled, ["bn+relu:"]),
    "concatenations": (dense, ["bn+relu:", "concat+bn+relu:", "concat+bn+relu:", "concat: add"]),
    "scaled": (scaled, ["-", "scale:"]),
    "a signal": (signal, ["bn+relu:"]),
}


def beside_a_window(x):
    y = nn.relu(bn(conv(x)))
    return conv(y, POINT), conv(y)


def needed(x):
    y = conv(x)
    z = nn.relu(bn(y))
    return conv(z, POINT) + y + z


def at_once(x):
    return conv(nn.relu(bn(conv(x))), POINT)


def in_training(x):
    y = conv(x)
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    return conv(nn.relu((y - mean) * lax.rsqrt(var + 1e-5) * A + B), POINT)


def in_training_by_deviations(x):
    """Whose deviations are read twice."""
    y = conv(x)
    y = y - y.mean((0, 1, 2))
    return conv(nn.relu(y * lax.rsqrt((y * y).mean((0, 1, 2)) + 1e-5) * A + B), POINT)


def padded(x):
    y = conv(x)
    return conv(nn.relu(bn(y)), POINT, padding=((1, 1), (0, 0))), y


def in_groups(x):
    y = conv(x)
    return conv(nn.relu(bn(y)), POINT[:, :, :2], feature_group_count=2), y


def skipped_by_few(x):
    return skipped(x, 16)


def other_order(x):
    y = conv(x)
    z = jnp.moveaxis(nn.relu(bn(y)), -1, 1)
    return conv(z, POINT, dimension_numbers=("NCHW", "HWIO", "NCHW")), y


def silu_of_a_pixel(x):
    """A pixel's product with itself is no excitation, though it has one number per channel."""
    y = conv(x[:1, :1, :1], POINT)
    return conv(nn.silu(y), POINT)


OTHERS = {
    "a window reads it too": beside_a_window,
    "it is needed elsewhere": needed,
    "the convolution before has it": at_once,
    "statistics of the batch": in_training,
    "deviations from their mean": in_training_by_deviations,
    "padding": padded,
    "groups": in_groups,
    "concatenated in front of a direct window": skipped_by_few,
    "channels first": other_order,
    "a single pixel": silu_of_a_pixel,
}


@pytest.mark.parametrize(("function", "fused"), HEADS.values(), ids=HEADS)
def test_found(capsys, function, fused):
    assert table(capsys, function, X)[0] == fused


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_not_found(capsys, function):
    assert ":" not in "".join(table(capsys, function, X)[0])


def test_concatenated_in_front_of_a_window(capsys):
    """By Winograd's algorithm, with errors of its own."""
    assert table(capsys, skipped, X)[0] == ["concat: relu"]
    ours, theirs = resfuse.fuse(skipped)(X), skipped(X)
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


FUNCTIONS = {name: cast(function) for name, (function, _) in HEADS.items()}
DIFFERENTIATED = {"squeeze and excitation", "two readers"}
BATCHED = ("squeeze and excitation", "concatenations")


def check(functions, x=X, transform=None, no_gradients=()):
    ours, exact = results(functions, x, transform, no_gradients)
    for name in functions:
        agreement.assert_near(ours[name], exact[name])


def test_values_and_gradients():
    check(FUNCTIONS, no_gradients=FUNCTIONS.keys() - DIFFERENTIATED)


def test_vmap():
    functions = {name: FUNCTIONS[name] for name in BATCHED}
    check(functions, jnp.stack([X, 1 - X]), jax.vmap, functions.keys())
