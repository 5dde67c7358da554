"""The meaning of the op, in ``jax.lax``: what the kernel must agree with on every input.

Everything else in this package is a faster way to compute these few lines on a CPU.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.spec import ConvSpec, Pads

__all__ = [
    "affine",
    "batch_statistics",
    "conv",
    "conv_bn_relu",
    "conv_bn_relu_train",
    "conv_statistics",
    "max_pool",
    "normalize",
    "per_channel",
    "sum_pool",
]


def per_channel(vector: Array, images: Array) -> Array:
    """``(C,)`` with axes of size 1 in front, as many as ``images`` has: to be broadcast.

    JAX adds them by itself, but for users who forbid it (``jax_numpy_rank_promotion="raise"``).
    """
    return jnp.expand_dims(vector, range(images.ndim - 1))


def conv(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    """Convolves ``(B, ..., Cin)`` with ``(..., Cin/groups, Cout)`` over one to three dimensions."""
    spatial = "DHW"[-len(spec.strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=spec.strides,
        padding=spec.padding,
        lhs_dilation=spec.input_dilation,
        rhs_dilation=spec.kernel_dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=spec.feature_group_count,
        precision=spec.precision,
    )


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
    mean: Array,
    var: Array,
    residual: Array | None,
    *,
    epsilon: float,
    relu: bool,
) -> Array:
    """``relu(scale * (y - mean) / sqrt(var + epsilon) + bias + residual)``."""
    multiplier = lax.rsqrt(var + epsilon)
    if scale is not None:
        multiplier = multiplier * scale
    y = (y - per_channel(mean, y)) * per_channel(multiplier, y)
    if bias is not None:
        y = y + per_channel(bias, y)
    if residual is not None:
        y = y + residual
    return jax.nn.relu(y) if relu else y


def conv_bn_relu(
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    conv_bias: Array | None,
    residual: Array | None,
    *,
    spec: ConvSpec,
    epsilon: float,
    relu: bool,
) -> Array:
    """Convolution, batch norm with the given statistics, residual add and ReLU."""
    y = conv(x, kernel, spec)
    if conv_bias is not None:
        y = y + per_channel(conv_bias, y)
    return normalize(y, scale, bias, mean, var, residual, epsilon=epsilon, relu=relu)


@jax.numpy_dtype_promotion("standard")  # statistics of bfloat16 are in float32
def conv_bn_relu_train(
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    conv_bias: Array | None,
    residual: Array | None,
    *,
    spec: ConvSpec,
    epsilon: float,
    relu: bool,
) -> tuple[Array, Array, Array]:
    """The same with the statistics of the batch, returned as ``(y, mean, var)``."""
    y = conv(x, kernel, spec)
    if conv_bias is not None:
        y = y + per_channel(conv_bias, y)
    mean, var = batch_statistics(y)
    y = normalize(y, scale, bias, mean, var, residual, epsilon=epsilon, relu=relu)
    return y.astype(x.dtype), mean, var


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
