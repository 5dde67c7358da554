"""Batch norm with the statistics of the batch in plain JAX, and what a table of its forms gives."""

import math

import jax
import jax.numpy as jnp
from jax import lax

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, loss

PIXELS = math.prod(X.shape[:3])
OTHER = KERNEL[::-1]


def fast(y, axes=(0, 1, 2), **options):
    mean = y.mean(axes, **options)
    return mean, jnp.maximum(0.0, (y * y).mean(axes, **options) - mean**2)


def slow(y, **options):
    mean = y.mean((0, 1, 2), **options)
    return mean, jnp.square(y - mean).mean((0, 1, 2), **options)


def norm(y, mean, var, epsilon=1e-5):
    return (y - mean) * (lax.rsqrt(var + epsilon) * A) + B


def batch_norm(y):
    return norm(y, *fast(y))


def results(functions):
    """Values and gradients of all by name: those of ``fuse``, their own, and these in float64."""

    def together(functions):
        every = functions.items()
        return jax.jit(lambda x: {name: (f(x), jax.grad(loss(f))(x)) for name, f in every})

    ours = together({name: resfuse.fuse(function) for name, function in functions.items()})
    plain = together(functions)
    return ours(X), plain(X), agreement.in_float64(plain, X)
