"""Means over windows, as torch takes them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array, lax

__all__ = ["adaptive_average", "every", "halve"]


def halve(x: Array, *, partial: bool = False) -> Array:
    """The means of 2x2 windows with stride 2.

    Args:
        x: ``(B, H, W, C)`` or ``(H, W, C)``.
        partial: Whether an odd last row or column counts, as the mean of what there is, as with
            torch's ``ceil_mode=True, count_include_pad=False``, or is left out.

    Returns:
        ``(B, Ho, Wo, C)`` or ``(Ho, Wo, C)``, of half the size, rounded up or down.
    """
    window, padding = (2, 2), "SAME" if partial else "VALID"
    sums = linen.pooling.pool(x, 0.0, lax.add, window, window, padding)
    if not partial or not any(side % 2 for side in x.shape[-3:-1]):
        return sums / 4
    ones = jnp.ones((*x.shape[-3:-1], 1), x.dtype)
    return sums / linen.pooling.pool(ones, 0.0, lax.add, window, window, padding)


def every(x: Array, strides: int) -> Array:
    """Every second pixel of ``(B, H, W, C)`` or ``(H, W, C)``, if ``strides`` is 2."""
    return x if strides == 1 else x[..., ::strides, ::strides, :]


def adaptive_average(x: Array, size: int) -> Array:
    """Means of windows that divide height and width into ``size`` parts each.

    Part ``i`` of ``n`` pixels runs from ``floor(i n / size)`` to ``ceil((i + 1) n / size)``, as in
    torch's ``AdaptiveAvgPool2d``: parts can share pixels.

    Args:
        x: ``(B, H, W, C)`` or ``(H, W, C)``.
        size: Height and width of the result.

    Returns:
        ``(B, size, size, C)`` or ``(size, size, C)``.
    """
    if x.shape[-3:-1] == (size, size):
        return x
    rows, columns = (jnp.asarray(_parts(side, size), x.dtype) for side in x.shape[-3:-1])
    return jnp.einsum("yh,xw,...hwc->...yxc", rows, columns, x)


def _parts(side: int, size: int) -> Sequence[Sequence[float]]:
    """A matrix whose rows take the means."""
    matrix = np.zeros((size, side))
    for index, row in enumerate(matrix):
        start, end = index * side // size, -(-(index + 1) * side // size)
        row[start:end] = 1 / (end - start)
    return matrix.tolist()
