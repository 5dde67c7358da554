"""Weights that are computed from what a function closes over, once: by NumPy, or by one program."""

import functools

import jax
import jax.numpy as jnp
import pytest

import agreement
from fuse_chains import KERNEL, A, X, cast, conv, results
from resfuse import fuse
from resfuse.fusion import constants

PIXELS = (0, 1, 2)


def standardized(kernel):
    return (kernel - kernel.mean(PIXELS)) / jnp.sqrt(kernel.var(PIXELS) + 1e-5)


def normalized(kernel):
    return kernel * jnp.exp(A) / jnp.sqrt((kernel * kernel).sum(PIXELS)) * abs(A - 0.5)


def by_a_product(kernel):
    """As the adapters of low rank and spectral norm do: NumPy's rules have no products."""
    matrix = kernel.reshape(-1, 4)
    return standardized((matrix + matrix @ (matrix.T @ matrix)).reshape(kernel.shape))


WEIGHTS = {
    "standardized": (standardized, 0),
    "normalized": (normalized, 0),
    "by a product": (by_a_product, 1),
}


@functools.cache
def all_results():
    functions = {
        name: cast(lambda x, weights=weights: conv(x, weights(KERNEL.astype(x.dtype))))
        for name, (weights, _) in WEIGHTS.items()
    }
    return results(functions, no_gradients=WEIGHTS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name):
    agreement.assert_near(*(each[name] for each in all_results()))


@pytest.mark.parametrize("name", WEIGHTS)
def test_programs(name, monkeypatch):
    weights, programs = WEIGHTS[name]
    called = agreement.record_calls(monkeypatch, constants, "_compiled")
    jax.eval_shape(fuse(lambda x: conv(x, weights(KERNEL))), X)
    assert len(called) == programs
