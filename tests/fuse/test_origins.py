"""``fuse`` in training: which layers' images are made again, and that all is as without."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import resfuse
from agreement import assert_as_accurate, in_float64
from cases import kernel_calls
from fuse_chains import KERNEL, A, X, cast, conv, loss
from sampling import long_but

CHANNELS = A.reshape(1, 1, 1, 4)


def normalised(y, axes=(0, 1, 2), scale=CHANNELS):
    mean = y.mean(axes, keepdims=True)
    var = jnp.square(y - mean).mean(axes, keepdims=True)
    return (y - mean) * lax.rsqrt(var + 1e-3) * scale + scale


def layer(x):
    return jax.nn.relu(normalised(conv(x)))


def in_turn(x):
    return layer(layer(layer(x)))


def with_a_shortcut(x):
    """A layer gives what cannot be made from its convolution alone."""
    y = layer(x)
    return layer(jax.nn.relu(normalised(conv(y)) + y))


def read_twice(x):
    y = layer(x)
    return layer(y) + layer(2 * y) + y


def images_first(x):
    """In torch's order of axes, of which the kernel's calls are free."""

    def one(x):
        y = conv(x, KERNEL, dimension_numbers=("NCHW", "HWIO", "NCHW"))
        return jax.nn.relu(normalised(y, (0, 2, 3), A.reshape(1, 4, 1, 1)))

    return one(one(x.transpose(0, 3, 1, 2)))


def turned(x):
    """Height and width change places on the way."""
    return layer(layer(x).transpose(0, 2, 1, 3))


def pooled(x):
    y = lax.reduce_window(layer(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return layer(y)


def in_a_loop(x):
    """What comes from outside was made there."""
    return lax.scan(lambda y, _: (layer(layer(y)), None), layer(x), None, length=2)[0]


def in_a_branch(x):
    y = layer(x)
    return lax.cond(x[0, 0, 0, 0] > 10, lambda: y, lambda: layer(y))


# With how many calls make images again.
NETWORKS = {
    "in turn": (in_turn, 2),
    "shortcut": (with_a_shortcut, 1),
    "read twice": (read_twice, 1),
    "images first": (images_first, 1),
    "turned": (turned, 0),
    "pooled": (pooled, 0),
    "loop": (in_a_loop, 1),
    "branch": (in_a_branch, 0),
}


@pytest.mark.parametrize("name", long_but(["shortcut", "pooled", "loop", "branch"], NETWORKS))
def test_gradients(name):
    function, made_again = NETWORKS[name]
    plain, fused = (jax.jit(jax.grad(loss(f))) for f in (cast(function), resfuse.fuse(function)))
    assert_as_accurate(fused(X), plain(X), in_float64(plain, X))
    calls = [call for call, _ in kernel_calls(fused, X)]
    assert calls.count("resfuse_conv_statistics") > 1
    assert calls.count("resfuse_normalize_again") == made_again


def test_inference_makes_nothing_again():
    """Nor what runs alone, without derivatives."""
    fused = resfuse.fuse(in_turn)
    assert_as_accurate(fused(X), in_turn(X), in_float64(cast(in_turn), X))
    calls = [call for call, _ in kernel_calls(fused, X)]
    assert "resfuse_normalize_again" not in calls
