"""``fuse`` of networks with dilated, transposed, 1-D and 3-D convolutions, in several libraries."""

import functools

import jax
import pytest

import agreement
import resfuse
from fuse_chains import loss, table
from geometry_networks import CONVOLUTIONS, DENSE_LAYERS, network
from sampling import some

TRAINED = ("U-Net", "WaveNet", "3-D ResNet")


def gradient(apply):
    """By weights and images."""
    return jax.grad(lambda *args: loss(lambda x: apply(args[0], x))(args[1]), (0, 1))


def both(value, *gradients):
    """Compiled together."""
    return jax.jit(lambda *args: (value(*args), *(gradient(*args) for gradient in gradients)))


@functools.cache
def exact(name):
    """The value and, of those that are trained here, the gradient."""
    apply, weights, x = network(name)
    gradients = [gradient(apply)] if name in TRAINED else []
    return agreement.in_float64(both(apply, *gradients), weights, x)


def assert_all_are_taken(summary, convolutions, dense=0):
    layers = f" and {dense} dense layers" if dense else ""
    taken = f"{convolutions} of {convolutions} convolutions{layers} on the kernel"
    assert summary.startswith(taken)


@pytest.mark.parametrize("name", some(2, CONVOLUTIONS))
def test_values(name, capsys):
    apply, weights, x = network(name)
    fast = resfuse.fuse(functools.partial(apply, weights))
    _, rows, summary = table(capsys, fast, x)
    dense = DENSE_LAYERS.get(name, 0)
    assert len(rows) == CONVOLUTIONS[name] + dense
    assert_all_are_taken(summary, CONVOLUTIONS[name], dense)
    agreement.assert_near(fast(x), exact(name)[0])


@pytest.mark.parametrize("name", some(1, TRAINED))
def test_gradients(name, capsys):
    """Of the fused network, and fused themselves: what JAX writes for them is convolutions too."""
    apply, weights, x = network(name)
    whole = resfuse.fuse(gradient(apply))
    _, rows, summary = table(capsys, whole, weights, x)
    assert len(rows) >= 3 * CONVOLUTIONS[name] - 1  # the last one's value may not be needed
    assert_all_are_taken(summary, len(rows))
    ours = both(gradient(resfuse.fuse(apply)), whole)(weights, x)
    for each in ours:
        agreement.assert_near(each, exact(name)[1])
