"""The derivatives of the kernel's calls, from the kernel's gradients of a convolution."""

import jax.numpy as jnp
from jax import Array

from resfuse.kernel import bilinear
from resfuse.kernel.bilinear import varying_like
from resfuse.kernel.norm import Saved, norm_gradients
from resfuse.spec import ConvSpec

__all__ = ["affine_gradients", "statistics_gradients", "training_gradients"]


def affine_gradients(
    spec: ConvSpec, operands: tuple[Array, ...], active: Array | None, cotangent: Array
) -> tuple[Array, ...]:
    """The cotangents of ``x, kernel, scale, shift, *residual`` for one of ``relu(affine)``.

    Args:
        spec: the convolution.
        operands: what the call was given.
        active: where ReLU let its argument through; None without ReLU.
        cotangent: of the output.
    """
    if active is not None:
        cotangent = jnp.where(active, cotangent, 0)
    x, kernel, scale = operands[:3]
    axes = tuple(range(cotangent.ndim - 1))
    # The convolution's value serves only the gradient by the scale; unused, it is never computed.
    d_scale = (cotangent * bilinear.conv(spec, x, kernel)).sum(axes)
    d_conv = cotangent * scale
    by_x = bilinear.input_gradient(spec, x.shape[1:3], d_conv, kernel)  # unused, likewise
    by_conv = by_x, _by_kernel(spec, x, kernel, d_conv)
    gradients = (*by_conv, d_scale, cotangent.sum(axes), *[cotangent] * (len(operands) - 4))
    return tuple(map(varying_like, gradients, operands))


def training_gradients(
    spec: ConvSpec,
    x: Array,
    kernel: Array,
    saved: Saved,
    cotangents: tuple[Array, Array, Array],
    *,
    epsilon: float,
    residual: bool,
    images: bool,
) -> tuple[Array | None, ...]:
    """The cotangents of ``x, kernel, scale, bias, residual``, of those that there are not as well.

    Args:
        spec: the convolution.
        x: what it was given.
        kernel: likewise.
        saved: what batch norm needs.
        cotangents: of the output, the mean and the variance.
        epsilon: added to the variance.
        residual: whether there is one.
        images: whether ``x`` wants its cotangent; without, it is None.
    """
    by_norm = norm_gradients(saved, cotangents, epsilon=epsilon, residual=residual)
    if images:
        return (*bilinear.gradients(spec, x, kernel, by_norm.conv), *by_norm[1:])
    return (None, _by_kernel(spec, x, kernel, by_norm.conv), *by_norm[1:])


def statistics_gradients(
    spec: ConvSpec, saved: tuple[Array, ...], cotangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """The cotangents of ``x`` and ``kernel`` for those of ``conv``, mean and variance.

    ``d mean / d conv = 1 / n`` and ``d var / d conv = 2 (conv - mean) / n``, over the ``n`` pixels.

    Args:
        spec: the convolution.
        saved: ``x, kernel, conv, mean``.
        cotangents: of the convolution, the mean and the variance.
    """
    x, kernel, conv, mean = saved
    d_conv, d_mean, d_var = cotangents
    count = max(1, conv.size // conv.shape[-1])
    d_conv = d_conv + (d_mean + 2 * (conv - mean) * d_var) / count
    by_x, by_kernel = bilinear.gradients(spec, x, kernel, d_conv)
    return varying_like(by_x, x), varying_like(by_kernel, kernel)


def _by_kernel(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> Array:
    return bilinear.weight_gradient(spec, kernel.shape[:2], x, d_y)
