"""The derivatives of the kernel's two calls: for now those of the reference.

This is the place where native ones go.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from resfuse import reference
from resfuse.spec import ConvSpec

__all__ = ["affine_gradients", "conv_gradients", "statistics_gradients"]


def conv_gradients(
    spec: ConvSpec, x: Array, kernel: Array, cotangent: Array
) -> tuple[Array, Array]:
    """The cotangents of ``x`` and ``kernel`` for one of the convolution."""
    _, pull = jax.vjp(functools.partial(reference.conv, spec=spec), x, kernel)
    return pull(cotangent)


def affine_gradients(
    spec: ConvSpec, operands: tuple[Array, ...], active: Array | None, cotangent: Array
) -> tuple[Array, ...]:
    """The cotangents of ``x, kernel, scale, shift, *residual`` for one of ``relu(affine)``.

    Args:
        spec: the convolution.
        operands: what the call was given.
        active: where ReLU let its argument through; None without ReLU.
        cotangent: of the output.
    """
    if active is not None:
        cotangent = jnp.where(active, cotangent, 0)
    # The convolution's value serves only the gradient by the scale; unused, it is never computed.
    _, pull = jax.vjp(functools.partial(reference.affine, spec=spec), *operands)
    return pull(cotangent)


def statistics_gradients(
    spec: ConvSpec,
    x: Array,
    kernel: Array,
    y: Array,
    mean: Array,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array]:
    """The cotangents of ``x`` and ``kernel`` for those of the convolution ``y``, mean and variance.

    ``d mean / d y = 1 / n`` and ``d var / d y = 2 (y - mean) / n``, over the ``n`` pixels.
    """
    d_y, d_mean, d_var = cotangents
    count = y.size // y.shape[-1]
    d_y = d_y + (d_mean + 2 * (y - mean) * d_var) / max(count, 1)
    return conv_gradients(spec, x, kernel, d_y)
