"""Batch norm with the statistics of the batch: normalisation, and two passes for its derivatives.

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
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.kernel.call import Call
from resfuse.kernel.conv import Axes
from resfuse.reference import per_channel

__all__ = [
    "NormGradients",
    "Saved",
    "norm_gradient",
    "norm_gradients",
    "norm_sums",
    "normalize",
    "normalized",
    "pixels",
]


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


def normalized(
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
    return normalize(relu, conv, mean, multiplier, shift, *residuals)


def norm_gradients(
    saved: Saved, cotangents: tuple[Array, Array, Array], *, epsilon: float, residual: bool
) -> NormGradients:
    """The cotangents of everything for those of ``y``, mean and variance."""
    d_y, d_mean, d_var = cotangents
    conv, mean, var, scale, y = saved
    mask = () if y is None else (y,)
    plain, weighted = norm_sums(d_y, conv, mean, *mask)
    count = pixels(conv)
    rsigma = lax.rsqrt(var + epsilon)
    a = rsigma if scale is None else scale * rsigma
    b = (2 * d_var - a * rsigma * rsigma * weighted) / count
    d = (d_mean - a * plain) / count
    d_conv, *rest = norm_gradient(residual and y is not None, d_y, conv, mean, a, b, d, *mask)
    return NormGradients(d_conv, weighted * rsigma, plain, rest[0] if rest else d_y)


def pixels(images: Array) -> Array:
    """How many numbers each channel has, at least 1, in the type of the images."""
    return jnp.asarray(jax.core.max_dim(math.prod(images.shape[:-1]), 1), images.dtype)


def _axes(images: Array) -> str:
    return Axes(images.ndim - 2).y


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize(
    relu: bool, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    """``relu(scale * (conv - mean) + shift + residual)``.

    Args:
        relu: whether to apply ReLU.
        conv: ``(B, ..., C)``, float32 as all of them.
        mean: ``(C,)``.
        scale: ``(C,)``.
        shift: ``(C,)``.
        *residual: at most one array like ``conv``.
    """
    image = _axes(conv)
    rule = f"{image}, o, o, o{f', {image}' * len(residual)} -> {image}"
    call = Call("normalize", rule, attributes={"relu": relu})
    return call(conv, mean, scale, shift, *residual)[0]


@jax.custom_vjp
def norm_sums(d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    """``sum g`` and ``sum g * (conv - mean)`` over the pixels, for each channel.

    Args:
        d_y: ``(B, ..., C)``, float32.
        conv: likewise.
        mean: ``(C,)``.
        *y: at most one array like ``d_y``: then ``g`` is ``d_y`` where ``y > 0`` and 0 elsewhere.
            Without it, ``g`` is ``d_y``.

    Returns:
        Two arrays ``(C,)``.
    """
    image = _axes(conv)
    rule = f"{image}, {image}, o{f', {image}' * len(y)} -> o, o"
    plain, weighted = Call("norm_sums", rule)(d_y, conv, mean, *y)
    return plain, weighted


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_gradient(
    residual: bool, d_y: Array, conv: Array, mean: Array, a: Array, b: Array, d: Array, *y: Array
) -> tuple[Array, ...]:
    """``(a * g + b * (conv - mean) + d,)``, and ``g`` as well if there is a ``residual``.

    Args:
        residual: whether to return ``g``.
        d_y: as in :func:`norm_sums`, and so are those that are not named here.
        conv: see there.
        mean: see there.
        a: ``(C,)``.
        b: ``(C,)``.
        d: ``(C,)``.
        *y: see there.
    """
    image = _axes(conv)
    results = ", ".join([image] * (2 if residual else 1))
    rule = f"{image}, {image}, o, o, o, o{f', {image}' * len(y)} -> {results}"
    return Call("norm_gradient", rule)(d_y, conv, mean, a, b, d, *y)


# The derivatives of these, which are second derivatives of the whole, are those of the formulas.
def _plain_normalize(
    relu: bool, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    mean, scale, shift = (per_channel(each, conv) for each in (mean, scale, shift))
    y = sum(residual, scale * (conv - mean) + shift)
    return jax.nn.relu(y) if relu else y


def _plain_sums(d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    g = _masked(d_y, *y)
    axes = tuple(range(g.ndim - 1))
    return g.sum(axes), (g * (conv - per_channel(mean, conv))).sum(axes)


def _plain_gradient(
    residual: bool, d_y: Array, conv: Array, mean: Array, a: Array, b: Array, d: Array, *y: Array
) -> tuple[Array, ...]:
    g = _masked(d_y, *y)
    mean, a, b, d = (per_channel(each, conv) for each in (mean, a, b, d))
    d_conv = a * g + (b * (conv - mean) + d)
    return (d_conv, g) if residual else (d_conv,)


def _masked(d_y: Array, *y: Array) -> Array:
    return jnp.where(y[0] > 0, d_y, 0) if y else d_y


def _normalize_backward(relu: bool, operands: tuple[Array, ...], d_y: Array) -> Any:
    return jax.vjp(functools.partial(_plain_normalize, relu), *operands)[1](d_y)


def _sums_backward(operands: tuple[Array, ...], cotangents: Any) -> Any:
    return jax.vjp(_plain_sums, *operands)[1](cotangents)


def _gradient_backward(residual: bool, operands: tuple[Array, ...], cotangents: Any) -> Any:
    return jax.vjp(functools.partial(_plain_gradient, residual), *operands)[1](cotangents)


normalize.defvjp(lambda relu, *ops: (normalize(relu, *ops), ops), _normalize_backward)
norm_sums.defvjp(lambda *operands: (norm_sums(*operands), operands), _sums_backward)
norm_gradient.defvjp(
    lambda residual, *ops: (norm_gradient(residual, *ops), ops), _gradient_backward
)
