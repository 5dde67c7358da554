"""The extension's gradient calls. Each says what it computes; ``gradients.py`` puts them together.

The type of a result, which in JAX includes its sharding, is made from those of the operands.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from resfuse.kernel.extension import attributes, call
from resfuse.spec import ConvSpec

__all__ = [
    "gradients",
    "input_gradient",
    "max_pool_gradient",
    "weight_gradient",
]

Pair = tuple[int, int]


def input_gradient(d_y: Array, kernel: Array, *, size: Pair, spec: ConvSpec) -> Array:
    """The cotangent of a convolution's input.

    Args:
        d_y: the output's, ``(B, Ho, Wo, Cout)``, float32.
        kernel: ``(kh, kw, Cin/groups, Cout)``.
        size: the input's ``(H, W)``.
        spec: of the convolution; its precision decides about Winograd's algorithm.

    Returns:
        ``(B, H, W, Cin)``.
    """
    features = kernel.shape[2] * spec.feature_group_count

    def like(d_y: Array, kernel: Array) -> Array:
        image = d_y.sum((1, 2, 3), keepdims=True) + kernel.sum()
        return jnp.broadcast_to(image, (d_y.shape[0], *size, features))

    out = jax.eval_shape(like, d_y, kernel)
    return call("conv_input_gradient", out)(d_y, kernel, **attributes(spec))


def gradients(x: Array, kernel: Array, d_y: Array, *, spec: ConvSpec) -> tuple[Array, Array]:
    """:func:`input_gradient` and :func:`weight_gradient` in one call."""

    def like(x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
        total = x.sum() + kernel.sum() + d_y.sum()
        return x + total, kernel + total

    outs = jax.eval_shape(like, x, kernel, d_y)
    by_x, by_kernel = call("conv_gradients", outs)(x, kernel, d_y, **attributes(spec))
    return by_x, by_kernel


def weight_gradient(x: Array, d_y: Array, *, window: Pair, spec: ConvSpec) -> Array:
    """The cotangent of a convolution's kernel, summed over the pixels and images.

    Args:
        x: the input, ``(B, H, W, Cin)``, float32.
        d_y: the output's cotangent, ``(B, Ho, Wo, Cout)``.
        window: the kernel's ``(kh, kw)``.
        spec: of the convolution.

    Returns:
        ``(kh, kw, Cin/groups, Cout)``.
    """
    shape = (*window, x.shape[3] // spec.feature_group_count, d_y.shape[3])

    def like(x: Array, d_y: Array) -> Array:
        return jnp.broadcast_to(x.sum() + d_y.sum(), shape)

    out = jax.eval_shape(like, x, d_y)
    return call("conv_weight_gradient", out)(x, d_y, **attributes(spec))


def max_pool_gradient(
    x: Array, d_y: Array, window: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> Array:
    """The cotangent of ``max_pool``'s input ``(B, H, W, C)``: each goes to the first maximum."""

    def like(x: Array, d_y: Array) -> Array:
        return x + d_y.sum()

    out = jax.eval_shape(like, x, d_y)
    return call("max_pool_gradient", out)(
        x,
        d_y,
        window=np.array(window, np.int64),
        strides=np.array(strides, np.int64),
        padding=np.array(padding, np.int64).ravel(),
    )
