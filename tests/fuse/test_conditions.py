"""Numbers for channels that other layers compute, brought to the images' axes on the way.

The embedding of a diffusion model's step in time, or the scale and shift of a conditional norm.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

import agreement
from fuse_chains import A, B, cast, conv, results

EMBEDDING = jnp.stack([A, -B])
MATRIX = agreement.images(4, 4)


def embedded(x):
    """One row for each image."""
    return x.mean((1, 2)) @ MATRIX


def batch_norm(y, scale, bias):
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    return (y - mean) * jax.lax.rsqrt(var + 1e-5) * scale + bias


CASES = {
    "added": lambda x: conv(x) + embedded(x)[:, None, None],
    "known": lambda x: conv(x) + (EMBEDDING.astype(x.dtype) @ MATRIX)[:, None, None],
    "scale and shift": lambda x: jax.nn.silu(
        conv(x) * (1 + embedded(x).reshape(2, 1, 1, 4)) + jnp.tanh(embedded(x))[:, None, None]
    ),
    "by a convolution": lambda x: conv(x) + conv(x[:, :1, :1])[:, 0, 0][:, None, None],
    "for all images": lambda x: conv(x) * embedded(x[:1])[:, None, None] + embedded(x)[0],
    "batch norm": lambda x: batch_norm(
        conv(x), embedded(x[:1])[:, None, None], jnp.tanh(embedded(x[:1])).reshape(4)
    ),
}  # fmt: skip


@functools.cache
def all_results():
    functions = {name: cast(function) for name, function in CASES.items()}
    return results(functions, no_gradients={*CASES} - {"scale and shift", "batch norm"})


@pytest.mark.parametrize("name", CASES)
def test_conditions(name):
    agreement.assert_near(*(each[name] for each in all_results()))
