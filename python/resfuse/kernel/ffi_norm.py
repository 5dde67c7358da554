"""The extension's calls for batch norm with the statistics of the batch, see ``norm.py``.

The type of a result, which in JAX includes its sharding, is made from those of the operands.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from resfuse.kernel.extension import call

__all__ = ["norm_gradient", "norm_sums", "normalize"]


def normalize(
    conv: Array, mean: Array, scale: Array, shift: Array, *residual: Array, relu: bool
) -> Array:
    """``relu(scale * (conv - mean) + shift + residual)``.

    Args:
        conv: ``(B, H, W, C)``, float32 as all of them.
        mean: ``(C,)``.
        scale: ``(C,)``.
        shift: ``(C,)``.
        *residual: at most one array like ``conv``.
        relu: whether to apply ReLU.
    """

    def like(conv: Array, *rest: Array) -> Array:
        return conv + sum(array.sum() for array in rest)

    operands = (conv, mean, scale, shift, *residual)
    return call("normalize", jax.eval_shape(like, *operands))(*operands, relu=np.bool_(relu))


def norm_sums(d_y: Array, conv: Array, mean: Array, *y: Array) -> tuple[Array, Array]:
    """``sum g`` and ``sum g * (conv - mean)`` over the pixels, for each channel.

    Args:
        d_y: ``(B, H, W, C)``, float32.
        conv: likewise.
        mean: ``(C,)``.
        *y: at most one array like ``d_y``: then ``g`` is ``d_y`` where ``y > 0`` and 0 elsewhere.
            Without it, ``g`` is ``d_y``.

    Returns:
        Two arrays ``(C,)``.
    """

    def like(d_y: Array, conv: Array, mean: Array, *y: Array) -> Array:
        return sum((array.sum() for array in (d_y, conv, *y)), jnp.zeros_like(mean))

    out = jax.eval_shape(like, d_y, conv, mean, *y)
    plain, weighted = call("norm_sums", (out, out))(d_y, conv, mean, *y)
    return plain, weighted


def norm_gradient(
    d_y: Array,
    conv: Array,
    mean: Array,
    a: Array,
    b: Array,
    d: Array,
    *y: Array,
    residual: bool,
) -> tuple[Array, ...]:
    """``(a * g + b * (conv - mean) + d,)``, and ``g`` as well if there is a ``residual``.

    Args:
        d_y: as in :func:`norm_sums`, and so are those that are not named here.
        conv: see there.
        mean: see there.
        a: ``(C,)``.
        b: ``(C,)``.
        d: ``(C,)``.
        *y: see there.
        residual: whether to return ``g``.
    """

    def like(d_y: Array, conv: Array, *rest: Array) -> Array:
        return d_y + conv + sum(array.sum() for array in rest)

    operands = (d_y, conv, mean, a, b, d, *y)
    outs = (jax.eval_shape(like, *operands),) * (2 if residual else 1)
    return tuple(call("norm_gradient", outs)(*operands))
