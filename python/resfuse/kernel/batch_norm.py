"""Batch norm with the statistics of the batch: normalisation, and two passes for its derivatives.

With ``c`` the convolution's output, ``n`` pixels, ``xhat = (c - mean) * rsqrt(var + epsilon)`` and
``y = gate(scale * xhat + bias + residual)``, the cotangents are (Ioffe & Szegedy 2015, section 3,
with ``g = gate'(y) d_y``, and those of the mean and the variance added)

    d_bias = sum g        d_scale = sum g * xhat        d_residual = g
    d_c = scale / s * (g - d_bias / n - xhat * d_scale / n) + d_mean / n + 2 (c - mean) d_var / n

where ``s = sqrt(var + epsilon)``. The sums are the first pass: it reads ``d_y`` and ``c``. The
second reads them again and writes ``d_c`` and, where there is one, ``d_residual``. No order has
fewer, for no ``d_c`` is known before all of the sums are. (PyTorch's ReLU, residual and batch norm
are three kernels, which read and write ``g`` once more.) Both compute the gate's argument again,
from ``c``; only behind a residual, which is as large as ``y``, they read ``y`` in its place. Saved
from the forward pass is ``c``, and ``y`` where the next layer cannot make it again (``origin.py``).
SiLU may stand in the gate's place, without a residual.
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
from resfuse.kernel.silu import Silu
from resfuse.reference import per_channel

__all__ = [
    "Ending",
    "NormGradients",
    "Saved",
    "norm_gradient",
    "norm_gradients",
    "norm_sums",
    "normalize",
    "normalize_again",
    "normalized",
    "operands_of_norm",
    "pixels",
]


Ending = Gate | Silu  # of what follows the norm


class Saved(NamedTuple):
    """What the backward pass needs of the forward one."""

    conv: Array
    mean: Array  # without the convolution's bias
    var: Array
    scale: Array | None
    bias: Array | None
    y: Array | None  # of a gate behind a residual, whose argument does not follow from the others


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
    ending: Ending,
) -> Array:
    """``ending`` of :func:`resfuse.reference.normalize`, on the kernel."""
    residuals = () if residual is None else (residual,)
    return normalize(ending, conv, *operands_of_norm(scale, bias, mean, var, epsilon), *residuals)


def operands_of_norm(
    scale: Array | None, bias: Array | None, mean: Array, var: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """What :func:`normalize` takes behind ``conv``."""
    return mean, _multiplier(scale, lax.rsqrt(var + epsilon)), _shift(bias, mean)


def _multiplier(scale: Array | None, rsigma: Array) -> Array:
    return rsigma if scale is None else rsigma * scale


def _shift(bias: Array | None, mean: Array) -> Array:
    return jnp.zeros_like(mean) if bias is None else bias


def norm_gradients(
    saved: Saved,
    cotangents: tuple[Array, Array, Array],
    *,
    epsilon: float,
    ending: Ending,
    residual: bool,
) -> NormGradients:
    """The cotangents of everything for those of ``y``, mean and variance."""
    d_y, d_mean, d_var = cotangents
    conv, mean, var, scale, bias, y = saved
    rsigma = lax.rsqrt(var + epsilon)
    a = _multiplier(scale, rsigma)
    of_argument = () if ending == Gate() else (a, _shift(bias, mean))
    kept = of_argument if y is None else (y,)
    plain, weighted = norm_sums(ending, d_y, conv, mean, *kept)
    count = pixels(conv)
    b = (2 * d_var - a * rsigma * rsigma * weighted) / count
    d = (d_mean - a * plain) / count
    results = norm_gradient(ending, residual and y is not None, d_y, conv, mean, a, b, d, *kept)
    d_conv, *rest = results
    return NormGradients(d_conv, weighted * rsigma, plain, rest[0] if rest else d_y)


def pixels(images: Array) -> Array:
    """How many numbers each channel has, at least 1, in the type of the images."""
    return jnp.asarray(jax.core.max_dim(math.prod(images.shape[:-1]), 1), images.dtype)


def _axes(images: Array) -> str:
    return Axes(images.ndim - 2).y


def _axes_kept(image: str, kept: tuple[Array, ...]) -> str:
    return "".join(f", {image if each.ndim > 1 else 'o'}" for each in kept)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize(
    ending: Ending, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    """``ending(scale * (conv - mean) + shift + residual)``.

    Args:
        ending: what follows; ``Gate()`` is nothing.
        conv: ``(B, ..., C)``, float32 as all of them.
        mean: ``(C,)``.
        scale: ``(C,)``.
        shift: ``(C,)``.
        *residual: at most one array like ``conv``.
    """
    image = _axes(conv)
    rule = f"{image}, o, o, o{f', {image}' * len(residual)} -> {image}"
    call = Call("normalize", rule, attributes=ending.attributes)
    return call(conv, mean, scale, shift, *residual)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize_again(
    ending: Ending, conv: Array, mean: Array, scale: Array, shift: Array, after: Array
) -> Array:
    """:func:`normalize` in the backward pass, for a result that the forward pass did not keep.

    Args:
        ending: as in :func:`normalize`, and so are those that are not named here.
        conv: see there.
        mean: see there.
        scale: see there.
        shift: see there.
        after: images that are not read; the result is not computed before they are there. (XLA
            takes ``lax.optimization_barrier`` out before it looks for what is computed twice.)
    """
    image = _axes(conv)
    call = Call(
        "normalize_again",
        f"{image}, o, o, o, {Axes(after.ndim - 2).x} -> {image}",
        attributes=ending.attributes,
    )
    return call(conv, mean, scale, shift, after)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_sums(
    ending: Ending, d_y: Array, conv: Array, mean: Array, *kept: Array
) -> tuple[Array, Array]:
    """``sum g`` and ``sum g * (conv - mean)`` over the pixels, for each channel.

    Args:
        ending: what followed the norm.
        d_y: ``(B, ..., C)``, float32.
        conv: likewise.
        mean: ``(C,)``.
        *kept: the scale and the shift that :func:`normalize` had; or a gate's value, one array like
            ``d_y``. ``g`` is ``d_y`` where a gate is open, and its ``otherwise`` of it elsewhere.
            None for ``Gate()``, with which ``g`` is ``d_y``.

    Returns:
        Two arrays ``(C,)``.
    """
    image = _axes(conv)
    rule = f"{image}, {image}, o{_axes_kept(image, kept)} -> o, o"
    call = Call("norm_sums", rule, attributes=ending.attributes)
    plain, weighted = call(d_y, conv, mean, *kept)
    return plain, weighted


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def norm_gradient(
    ending: Ending,
    residual: bool,
    d_y: Array,
    conv: Array,
    mean: Array,
    a: Array,
    b: Array,
    d: Array,
    *kept: Array,
) -> tuple[Array, ...]:
    """``(a * g + b * (conv - mean) + d,)``, and ``g`` as well if there is a ``residual``.

    Args:
        ending: as in :func:`norm_sums`.
        residual: whether to return ``g``.
        d_y: as in :func:`norm_sums`, and so are those that are not named here.
        conv: see there.
        mean: see there.
        a: ``(C,)``.
        b: ``(C,)``.
        d: ``(C,)``.
        *kept: see there.
    """
    image = _axes(conv)
    results = ", ".join([image] * (2 if residual else 1))
    rule = f"{image}, {image}, o, o, o, o{_axes_kept(image, kept)} -> {results}"
    # With an ending `d_y` is needed nowhere else; without one, a block's skip may share it.
    in_place = None if ending == Gate() else 0
    call = Call("norm_gradient", rule, attributes=ending.attributes, in_place=in_place)
    return call(d_y, conv, mean, a, b, d, *kept)


# The derivatives of these, which are second derivatives of the whole, are those of the formulas.
def _plain_normalize(
    ending: Ending, conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array
) -> Array:
    mean, scale, shift = (per_channel(each, conv) for each in (mean, scale, shift))
    return ending(sum(residual, scale * (conv - mean) + shift))


def _plain_again(
    ending: Ending, conv: Array, mean: Array, scale: Array, shift: Array, after: Array
) -> Array:
    del after
    return _plain_normalize(ending, conv, mean, scale, shift)


def _plain_sums(
    ending: Ending, d_y: Array, conv: Array, mean: Array, *kept: Array
) -> tuple[Array, Array]:
    deviation = conv - per_channel(mean, conv)
    g = _passing(ending, d_y, deviation, *kept)
    axes = tuple(range(g.ndim - 1))
    return g.sum(axes), (g * deviation).sum(axes)


def _plain_gradient(ending: Ending, residual: bool, *arrays: Array) -> tuple[Array, ...]:
    d_y, conv, mean, a, b, d, *kept = arrays
    mean, a, b, d = (per_channel(each, conv) for each in (mean, a, b, d))
    deviation = conv - mean
    g = _passing(ending, d_y, deviation, *kept)
    d_conv = a * g + (b * deviation + d)
    return (d_conv, g) if residual else (d_conv,)


def _passing(ending: Ending, d_y: Array, deviation: Array, *kept: Array) -> Array:
    if not kept:
        return d_y
    *scale, last = (each if each.ndim == d_y.ndim else per_channel(each, d_y) for each in kept)
    z = scale[0] * deviation + last if scale else last
    if isinstance(ending, Gate):
        return ending.pull(ending.opened(z), d_y)
    (g,) = jax.vjp(ending, z)[1](d_y)
    return g


def _by_formula(call: Callable[..., Any], formula: Callable[..., Any], static: int) -> None:
    """Gives a call whose first ``static`` arguments are no arrays the formula's derivatives."""

    def forward(*arguments: Any) -> tuple[Any, Any]:
        return call(*arguments), arguments[static:]

    def backward(*arguments: Any) -> Any:
        *settings, operands, cotangents = arguments
        return jax.vjp(functools.partial(formula, *settings), *operands)[1](cotangents)

    call.defvjp(forward, backward)  # type: ignore[attr-defined]


_by_formula(normalize, _plain_normalize, 1)
_by_formula(normalize_again, _plain_again, 1)
_by_formula(norm_sums, _plain_sums, 1)
_by_formula(norm_gradient, _plain_gradient, 2)
