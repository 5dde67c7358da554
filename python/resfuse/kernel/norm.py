"""Batch norm with the statistics of the batch in the backward pass: two passes over memory.

With ``c`` the convolution's output, ``n`` pixels, ``xhat = (c - mean) * rsqrt(var + epsilon)`` and
``y = relu(scale * xhat + bias + residual)``, the cotangents are (Ioffe & Szegedy 2015, section 3,
with ``g`` for ``d_y`` where ``y > 0``, and those of the mean and the variance added)

    d_bias = sum g        d_scale = sum g * xhat        d_residual = g
    d_c = scale / s * (g - d_bias / n - xhat * d_scale / n) + d_mean / n + 2 (c - mean) d_var / n

where ``s = sqrt(var + epsilon)``. The sums are the first pass: it reads ``d_y``, ``c`` and ``y``.
The second reads them again and writes ``d_c`` and, where there is one, ``d_residual``. No order has
fewer, for no ``d_c`` is known before all of the sums are. (PyTorch's ReLU, residual and batch norm
are three kernels, which read and write ``g`` once more.) Saved from the forward pass are ``c`` and
``y``, which the next layer saves as well: what PyTorch saves.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.kernel import norm_calls

__all__ = ["Saved", "norm_gradients", "normalize"]


class Saved(NamedTuple):
    """What the backward pass needs of the forward one."""

    conv: Array
    mean: Array  # without the convolution's bias
    var: Array
    scale: Array | None
    y: Array | None  # None without ReLU


class NormGradients(NamedTuple):
    """The cotangents."""

    conv: Array
    scale: Array
    bias: Array
    residual: Array


def normalize(
    conv: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None,
    *,
    epsilon: float,
    relu: bool,
) -> Array:
    """As :func:`resfuse.reference.normalize`, on the kernel."""
    rsigma = lax.rsqrt(var + epsilon)
    multiplier = rsigma if scale is None else rsigma * scale
    shift = jnp.zeros_like(mean) if bias is None else bias
    residuals = () if residual is None else (residual,)
    return _normalize(relu, conv, mean, multiplier, shift, *residuals)


def norm_gradients(
    saved: Saved, cotangents: tuple[Array, Array, Array], *, epsilon: float, residual: bool
) -> NormGradients:
    """The cotangents of everything for those of ``y``, mean and variance."""
    d_y, d_mean, d_var = cotangents
    conv, mean, var, scale, y = saved
    mask = () if y is None else (y,)
    plain, weighted = _sums(d_y, conv, mean, *mask)
    count = max(1, conv.size // conv.shape[-1])
    rsigma = lax.rsqrt(var + epsilon)
    a = rsigma if scale is None else scale * rsigma
    b = (2 * d_var - a * rsigma * rsigma * weighted) / count
    d = (d_mean - a * plain) / count
    d_conv, *rest = _gradient(residual and y is not None, d_y, conv, mean, a, b, d, *mask)
    return NormGradients(d_conv, weighted * rsigma, plain, rest[0] if rest else d_y)


def _plain_normalize(
    relu: bool, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    y = sum(residual, scale * (conv - mean) + shift)
    return jax.nn.relu(y) if relu else y


def _plain_sums(d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    g = _masked(d_y, *y)
    axes = tuple(range(g.ndim - 1))
    return g.sum(axes), (g * (conv - mean)).sum(axes)


def _plain_gradient(
    residual: bool, d_y: Array, conv: Array, mean: Array, a: Array, b: Array, d: Array, *y: Array
) -> tuple[Array, ...]:
    g = _masked(d_y, *y)
    d_conv = a * g + (b * (conv - mean) + d)
    return (d_conv, g) if residual else (d_conv,)


def _masked(d_y: Array, *y: Array) -> Array:
    return jnp.where(y[0] > 0, d_y, 0) if y else d_y


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalize(relu: bool, *operands: Array) -> Array:
    return norm_calls.normalize(*operands, relu=relu)


@jax.custom_vjp
def _sums(*operands: Array) -> tuple[Array, Array]:
    return norm_calls.norm_sums(*operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gradient(residual: bool, *operands: Array) -> tuple[Array, ...]:
    return norm_calls.norm_gradient(*operands, residual=residual)


# The derivatives of these, which are second derivatives of the whole, are those of the formulas.
def _normalize_backward(relu: bool, operands: tuple[Array, ...], d_y: Array) -> Any:
    return jax.vjp(functools.partial(_plain_normalize, relu), *operands)[1](d_y)


def _sums_backward(operands: tuple[Array, ...], cotangents: Any) -> Any:
    return jax.vjp(_plain_sums, *operands)[1](cotangents)


def _gradient_backward(residual: bool, operands: tuple[Array, ...], cotangents: Any) -> Any:
    return jax.vjp(functools.partial(_plain_gradient, residual), *operands)[1](cotangents)


_normalize.defvjp(lambda relu, *ops: (_normalize(relu, *ops), ops), _normalize_backward)
_sums.defvjp(lambda *operands: (_sums(*operands), operands), _sums_backward)
_gradient.defvjp(lambda residual, *ops: (_gradient(residual, *ops), ops), _gradient_backward)
