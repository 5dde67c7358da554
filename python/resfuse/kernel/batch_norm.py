"""Batch norm with the statistics of the batch: normalisation, and two passes for its derivatives.

With ``c`` the convolution's output, ``n`` pixels, ``xhat = (c - mean) * rsqrt(var + epsilon)`` and
``y = gate(scale * xhat + bias + residual)``, the cotangents are (Ioffe & Szegedy 2015, section 3,
with ``g = gate'(y) d_y``, and those of the mean and the variance added)

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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.kernel.call import Call
from resfuse.kernel.conv import Axes
from resfuse.kernel.gate import Gate
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
    y: Array | None  # None without a gate


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
    gate: Gate,
) -> Array:
    """``gate`` of :func:`resfuse.reference.normalize`, on the kernel."""
    rsigma = lax.rsqrt(var + epsilon)
    multiplier = rsigma if scale is None else rsigma * scale
    shift = jnp.zeros_like(mean) if bias is None else bias
    residuals = () if residual is None else (residual,)
    return normalize(gate, conv, mean, multiplier, shift, *residuals)


def norm_gradients(
    saved: Saved,
    cotangents: tuple[Array, Array, Array],
    *,
    epsilon: float,
    gate: Gate,
    residual: bool,
) -> NormGradients:
    """The cotangents of everything for those of ``y``, mean and variance."""
    d_y, d_mean, d_var = cotangents
    conv, mean, var, scale, y = saved
    mask = () if y is None else (y,)
    plain, weighted = norm_sums(gate, d_y, conv, mean, *mask)
    count = pixels(conv)
    rsigma = lax.rsqrt(var + epsilon)
    a = rsigma if scale is None else scale * rsigma
    b = (2 * d_var - a * rsigma * rsigma * weighted) / count
    d = (d_mean - a * plain) / count
    results = norm_gradient(gate, residual and y is not None, d_y, conv, mean, a, b, d, *mask)
    d_conv, *rest = results
    return NormGradients(d_conv, weighted * rsigma, plain, rest[0] if rest else d_y)


def pixels(images: Array) -> Array:
    """How many numbers each channel has, at least 1, in the type of the images."""
    return jnp.asarray(jax.core.max_dim(math.prod(images.shape[:-1]), 1), images.dtype)


def _axes(images: Array) -> str:
    return Axes(images.ndim - 2).y


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize(
    gate: Gate, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    """``gate(scale * (conv - mean) + shift + residual)``.

    Args:
        gate: what follows; ``Gate()`` is nothing.
        conv: ``(B, ..., C)``, float32 as all of them.
        mean: ``(C,)``.
        scale: ``(C,)``.
        shift: ``(C,)``.
        *residual: at most one array like ``conv``.
    """
    image = _axes(conv)
    rule = f"{image}, o, o, o{f', {image}' * len(residual)} -> {image}"
    call = Call("normalize", rule, attributes=gate.attributes)
    return call(conv, mean, scale, shift, *residual)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_sums(gate: Gate, d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    """``sum g`` and ``sum g * (conv - mean)`` over the pixels, for each channel.

    Args:
        gate: what followed the norm.
        d_y: ``(B, ..., C)``, float32.
        conv: likewise.
        mean: ``(C,)``.
        *y: one array like ``d_y``, the gate's value: ``g`` is ``d_y`` where the gate is open, and
            its ``otherwise`` of it elsewhere. None for ``Gate()``, with which ``g`` is ``d_y``.

    Returns:
        Two arrays ``(C,)``.
    """
    image = _axes(conv)
    rule = f"{image}, {image}, o{f', {image}' * len(y)} -> o, o"
    call = Call("norm_sums", rule, attributes=gate.attributes)
    plain, weighted = call(d_y, conv, mean, *y)
    return plain, weighted


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def norm_gradient(
    gate: Gate,
    residual: bool,
    d_y: Array,
    conv: Array,
    mean: Array,
    a: Array,
    b: Array,
    d: Array,
    *y: Array,
) -> tuple[Array, ...]:
    """``(a * g + b * (conv - mean) + d,)``, and ``g`` as well if there is a ``residual``.

    Args:
        gate: as in :func:`norm_sums`.
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
    call = Call("norm_gradient", rule, attributes=gate.attributes)
    return call(d_y, conv, mean, a, b, d, *y)


# The derivatives of these, which are second derivatives of the whole, are those of the formulas.
def _plain_normalize(
    gate: Gate, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    mean, scale, shift = (per_channel(each, conv) for each in (mean, scale, shift))
    return gate(sum(residual, scale * (conv - mean) + shift))


def _plain_sums(gate: Gate, d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    g = _passing(gate, d_y, *y)
    axes = tuple(range(g.ndim - 1))
    return g.sum(axes), (g * (conv - per_channel(mean, conv))).sum(axes)


def _plain_gradient(gate: Gate, residual: bool, *arrays: Array) -> tuple[Array, ...]:
    d_y, conv, mean, a, b, d, *y = arrays
    g = _passing(gate, d_y, *y)
    mean, a, b, d = (per_channel(each, conv) for each in (mean, a, b, d))
    d_conv = a * g + (b * (conv - mean) + d)
    return (d_conv, g) if residual else (d_conv,)


def _passing(gate: Gate, d_y: Array, *y: Array) -> Array:
    return gate.pull(gate.opened(y[0]), d_y) if y else d_y


def _by_formula(call: Callable[..., Any], formula: Callable[..., Any], static: int) -> None:
    """Gives a call whose first ``static`` arguments are no arrays the formula's derivatives."""

    def forward(*arguments: Any) -> tuple[Any, Any]:
        return call(*arguments), arguments[static:]

    def backward(*arguments: Any) -> Any:
        *settings, operands, cotangents = arguments
        return jax.vjp(functools.partial(formula, *settings), *operands)[1](cotangents)

    call.defvjp(forward, backward)  # type: ignore[attr-defined]


_by_formula(normalize, _plain_normalize, 1)
_by_formula(norm_sums, _plain_sums, 1)
_by_formula(norm_gradient, _plain_gradient, 2)
