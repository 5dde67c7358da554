"""The meaning of the op, in ``jax.lax``: what the kernel must agree with on every input.

Everything else in this package is a faster way to compute these few lines on a CPU.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from resfuse.arguments import Activation, common_dtype
from resfuse.spec import ConvSpec, Pads

__all__ = [
    "affine",
    "batch_statistics",
    "conv",
    "conv_bn_act",
    "conv_bn_act_train",
    "conv_statistics",
    "group_norm",
    "layer_norm",
    "max_pool",
    "normalize",
    "per_channel",
    "sum_pool",
]


def per_channel(vector: Array, images: Array) -> Array:
    """``(C,)`` with axes of size 1 in front, as many as ``images`` has: to be broadcast.

    JAX adds them by itself, but for users who forbid it (``jax_numpy_rank_promotion="raise"``).
    """
    return lax.expand_dims(vector, range(images.ndim - 1))


def conv(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    """Convolves ``(B, ..., Cin)`` with ``(..., Cin/groups, Cout)`` over one to three dimensions."""
    spatial = "DHW"[-len(spec.strides) :]
    padding, input_dilation = spec.padding, spec.input_dilation
    if padding != "SAME" and min(map(min, padding)) < 0:
        # XLA:CPU, up to jaxlib 0.10 at least, reads beyond the image where padding crops it.
        x = _padded(x, padding, input_dilation)
        padding, input_dilation = ((0, 0),) * len(padding), (1,) * len(padding)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=spec.strides,
        padding=padding,
        lhs_dilation=input_dilation,
        rhs_dilation=spec.kernel_dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=spec.feature_group_count,
        precision=spec.precision,
    )


def _padded(x: Array, padding: Pads, dilation: tuple[int, ...]) -> Array:
    """``x`` with zeros between its pixels, and around them or without those that are cropped."""
    zeros = [(*pair, step - 1) for pair, step in zip(padding, dilation, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *zeros, (0, 0, 0)])


def affine(
    x: Array, kernel: Array, scale: Array, shift: Array, *residual: Array, spec: ConvSpec
) -> Array:
    """``scale * conv(x, kernel) + shift + residual``: batch norm with its statistics folded in."""
    y = conv(x, kernel, spec)
    return sum(residual, y * per_channel(scale, y) + per_channel(shift, y))


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """The convolution with its :func:`batch_statistics`."""
    y = conv(x, kernel, spec)
    return y, *batch_statistics(y)


def batch_statistics(y: Array) -> tuple[Array, Array]:
    """Mean and biased variance over every axis but the last, as Flax computes them.

    ``var = max(0, E[y^2] - E[y]^2)`` in at least float32: Flax's ``use_fast_variance``.
    """
    y = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    axes = tuple(range(y.ndim - 1))
    mean = y.mean(axes)
    return mean, jnp.maximum(0.0, (y * y).mean(axes) - mean * mean)


def normalize(
    y: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array | None,
    var: Array | None,
    residual: Array | None,
    *,
    epsilon: float,
) -> Array:
    """``scale * (y - mean) / sqrt(var + epsilon) + bias + residual``; None leaves out its part.

    In the widest of their dtypes. By ``lax``: operators are functions of their own to JAX, and half
    of the time in which a network is traced went into them.
    """
    y, scale, bias, mean, var, residual = _promoted(y, scale, bias, mean, var, residual)
    if mean is not None:
        y = lax.sub(y, per_channel(mean, y))
    multiplier = scale
    if var is not None:
        multiplier = lax.rsqrt(lax.add(var, np.asarray(epsilon, var.dtype)))
        multiplier = multiplier if scale is None else lax.mul(multiplier, scale)
    if multiplier is not None:
        y = lax.mul(y, per_channel(multiplier, y))
    if bias is not None:
        y = lax.add(y, per_channel(bias, y))
    return y if residual is None else lax.add(y, residual)


def _promoted(*arrays: Array | None) -> list[Any]:
    dtype = common_dtype(*(array for array in arrays if array is not None))
    return [None if array is None else lax.convert_element_type(array, dtype) for array in arrays]


def conv_bn_act(
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array | None,
    var: Array | None,
    conv_bias: Array | None,
    residual: Array | None,
    *,
    spec: ConvSpec,
    epsilon: float,
    activation: Activation | None,
) -> Array:
    """Convolution, batch norm with the given statistics, residual add and activation."""
    y = conv(x, kernel, spec)
    if conv_bias is not None:
        y = lax.add(y, per_channel(conv_bias, y))
    y = normalize(y, scale, bias, mean, var, residual, epsilon=epsilon)
    return y if activation is None else activation(y)


@jax.numpy_dtype_promotion("standard")  # statistics of bfloat16 are in float32
def conv_bn_act_train(
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    conv_bias: Array | None,
    residual: Array | None,
    *,
    spec: ConvSpec,
    epsilon: float,
    activation: Activation | None,
) -> tuple[Array, Array, Array]:
    """The same with the statistics of the batch, returned as ``(y, mean, var)``."""
    y = conv(x, kernel, spec)
    if conv_bias is not None:
        y = lax.add(y, per_channel(conv_bias, y))
    mean, var = batch_statistics(y)
    y = normalize(y, scale, bias, mean, var, residual, epsilon=epsilon).astype(x.dtype)
    return y if activation is None else activation(y), mean, var


def group_norm(x: Array, scale: Array, bias: Array, *, groups: int, epsilon: float) -> Array:
    """:func:`layer_norm` of ``groups`` of channels, each over all pixels of an image."""
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    deviation = parts - parts.mean(axes, keepdims=True)
    var = (deviation * deviation).mean(axes, keepdims=True)
    y = (deviation * lax.rsqrt(var + np.asarray(epsilon, x.dtype))).reshape(x.shape)
    return y * per_channel(scale, y) + per_channel(bias, y)


def layer_norm(x: Array, scale: Array, bias: Array, *, epsilon: float, centred: bool) -> Array:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias``, each pixel by its own channels.

    Without ``centred`` the mean is 0 instead: RMS norm.
    """
    deviation = x - x.mean(-1, keepdims=True) if centred else x
    var = (deviation * deviation).mean(-1, keepdims=True)
    y = deviation * lax.rsqrt(var + np.asarray(epsilon, x.dtype))
    return y * per_channel(scale, y) + per_channel(bias, y)


def max_pool(
    x: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Pads | Literal["SAME"],
    window_dilation: tuple[int, ...] | None = None,
) -> Array:
    """The largest of each window of ``(B, ..., C)``; padding counts as minus infinity."""
    return _reduce_windows(x, -jnp.inf, lax.max, window, strides, padding, window_dilation)


def sum_pool(
    x: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Pads | Literal["SAME"],
    window_dilation: tuple[int, ...] | None = None,
) -> Array:
    """The sum of each window of ``(B, ..., C)``; padding counts as zero."""
    return _reduce_windows(x, 0.0, lax.add, window, strides, padding, window_dilation)


def _reduce_windows(
    x: Array,
    start: float,
    operation: Callable[[Array, Array], Array],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Pads | Literal["SAME"],
    window_dilation: tuple[int, ...] | None,
) -> Array:
    pads = padding if padding == "SAME" else ((0, 0), *padding, (0, 0))
    dilation = None if window_dilation is None else (1, *window_dilation, 1)
    return lax.reduce_window(
        x, start, operation, (1, *window, 1), (1, *strides, 1), pads, window_dilation=dilation
    )
