"""What Flax's ``Conv`` and ``ConvTranspose`` compute, in the terms of the op.

Linen and NNX name their settings alike, so one description serves both.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx
from flax.linen.linear import canonicalize_padding
from jax import Array

from resfuse.spec import Pads, dilated

__all__ = ["arguments", "has_known_padding", "is_transposed", "kernel_size"]

_NO_ZEROS = {"CIRCULAR": "wrap", "REFLECT": "reflect"}  # as jnp.pad has it


def is_transposed(conv: Any) -> bool:
    """Whether it is one of Flax's ``ConvTranspose``."""
    return isinstance(conv, linen.ConvTranspose | nnx.ConvTranspose)


def kernel_size(conv: Any) -> tuple[int, ...]:
    """The window's size, an integer for each spatial dimension."""
    size = conv.kernel_size
    return (size,) if isinstance(size, int) else tuple(size)


def has_known_padding(conv: Any) -> bool:
    """Whether the op knows the padding, or the images can be padded beforehand.

    The rest is Flax's: a transposed convolution that wraps its outputs, and names where there are
    zeros between the pixels, which mean nothing to ``lax``.
    """
    padding, dims = conv.padding, len(kernel_size(conv))
    if not isinstance(padding, str):
        return True
    if is_transposed(conv):
        return padding in ("SAME", "VALID")
    if {*_each(conv.input_dilation, dims)} != {1}:
        return False
    known = padding.upper() in ("SAME", "VALID") or padding in _NO_ZEROS
    return known or (padding == "CAUSAL" and dims == 1)


def arguments(conv: Any, x: Array, kernel: Array) -> tuple[Array, Array, dict[str, Any]]:
    """The images, the kernel and the geometry that give the op what Flax computes of these."""
    if is_transposed(conv):
        return x, *_transposed(conv, kernel)
    window = kernel.shape[:-2]
    dims = len(window)
    kernel_dilation = _each(conv.kernel_dilation, dims)
    padding: Any = canonicalize_padding(conv.padding, dims)
    if isinstance(padding, str) and padding in _NO_ZEROS:
        x = _padded(x, tuple(map(dilated, window, kernel_dilation)), _NO_ZEROS[padding])
        padding = "VALID"
    return x, kernel, {
        "strides": _each(conv.strides, dims),
        "padding": padding,
        "input_dilation": _each(conv.input_dilation, dims),
        "kernel_dilation": kernel_dilation,
        "feature_group_count": conv.feature_group_count,
    }  # fmt: skip


def _padded(x: Array, window: Sequence[int], mode: str) -> Array:
    """As many pixels as there are outputs without strides, from what is there."""
    pads = [((size - 1) // 2, size // 2) for size in window]
    axes = [(0, 0)] * (x.ndim - len(window) - 1)
    return jnp.pad(x, [*axes, *pads, (0, 0)], mode=mode)


def _transposed(conv: Any, kernel: Array) -> tuple[Array, dict[str, Any]]:
    """Its strides are zeros between the pixels; ``transpose_kernel`` is that of the gradient."""
    dims = kernel.ndim - 2
    strides, kernel_dilation = _each(conv.strides, dims), _each(conv.kernel_dilation, dims)
    if conv.transpose_kernel:
        kernel = jnp.flip(kernel, range(dims)).swapaxes(-1, -2)
    padding: Any = canonicalize_padding(conv.padding, dims)
    if isinstance(padding, str):
        window = map(dilated, kernel.shape[:-2], kernel_dilation)
        padding = _transposed_pads(padding, tuple(window), strides)
    return kernel, {
        "strides": 1,
        "padding": padding,
        "input_dilation": strides,
        "kernel_dilation": kernel_dilation,
        "feature_group_count": 1,
    }


def _transposed_pads(name: str, window: Sequence[int], strides: Sequence[int]) -> Pads:
    """As ``lax.conv_transpose`` pads: outputs are as many as inputs times strides, or "VALID".

    Of a window of k and a stride of s, "SAME" adds ``k + s - 2`` pixels in all; "VALID" as many as
    make every input meet every tap, and outputs for the strides beyond.
    """

    def pads(k: int, s: int) -> tuple[int, int]:
        if name == "VALID":
            return k - 1, s - 1 + max(k - s, 0)
        before = k - 1 if s > k - 1 else math.ceil((k + s - 2) / 2)
        return before, k + s - 2 - before

    return tuple(map(pads, window, strides))


def _each(value: int | Sequence[int] | None, dims: int) -> tuple[int, ...]:
    """One integer for each dimension; to Flax None is 1."""
    if value is None or isinstance(value, int):
        return (1 if value is None else value,) * dims
    return tuple(value)
