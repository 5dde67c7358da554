"""Convolutions that are the weight gradient of another one, as JAX writes them.

With outputs ``u`` and taps ``t``, stride ``s``, dilation of the window ``d`` and padding ``p``, a
convolution is

    y[b, u, o] = sum over i, t of x[b, s u + d t - p, i] k[t, i, o]

and so is the weight gradient of a convolution with stride ``d`` and dilation of the window ``s``:
of images ``i`` with channels ``b``, by the cotangents ``k`` of its outputs ``t``, at its taps
``u``. They differ in what is much. The kernel's convolution adds up few taps for each of many
outputs, its weight gradient many outputs for each of few taps: two to five times as fast where it
is one.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from resfuse import reference
from resfuse.fusion.geometry import Geometry
from resfuse.kernel import conv
from resfuse.kernel.derivatives import refuse_forward_mode
from resfuse.purpose import Purpose, by_platform, tracing_for
from resfuse.spec import ConvSpec, dilated

__all__ = ["convolve", "takes"]


def takes(geometry: Geometry) -> bool:
    """Whether a convolution is better computed as another one's weight gradient.

    JAX writes them with the images' channels for a batch, which lie inside, and with windows larger
    than the output.
    """
    batch = geometry.images.place(0)
    inside = batch is not None and geometry.images.channels < batch
    taps, outputs = geometry.kernel.start[:-2], geometry.output.start[1:-1]
    if not inside or not 0 < math.prod(outputs) < math.prod(taps):
        return False
    channels, *size, images = geometry.images.start
    x = images // _turns(geometry), *size, channels
    kernel = *outputs, channels // geometry.batch_groups, geometry.output.start[-1]
    return conv.unsupported(x, kernel, jnp.float32, _mirrored(geometry)) is None


@functools.partial(jax.jit, static_argnums=0, inline=True)
def convolve(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """What ``geometry`` makes of the equation's arrays, channels last, as a weight gradient."""

    def on_cpu(x: Array, kernel: Array) -> Array:
        x, kernel = refuse_forward_mode((x, kernel))
        return _by_groups(geometry, geometry.images.undo(x), geometry.kernel.undo(kernel))

    def plain(x: Array, kernel: Array) -> Array:
        images, weights = geometry.images_from(x), geometry.kernel.undo(kernel)
        return reference.conv(images, weights, geometry.spec)

    return by_platform(x, kernel, cpu=on_cpu, default=plain)


def _by_groups(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Groups of the batch are groups of the other convolution; others take turns."""
    window = geometry.output.start[1:-1]
    gradient = functools.partial(conv.weight_gradient, _mirrored(geometry), window)
    groups = _turns(geometry)
    if groups == 1:
        y = gradient(jnp.swapaxes(x, 0, -1), jnp.moveaxis(kernel, -2, 0))
        return jnp.moveaxis(y, -2, 0)
    x = x.reshape(*x.shape[:-1], groups, -1)  # (b, ..., g, i)
    kernel = kernel.reshape(*kernel.shape[:-1], groups, -1)  # (..., i, g, o)
    images = jnp.moveaxis(jnp.moveaxis(x, 0, -1), (-3, -2), (0, 1))  # (g, i, ..., b)
    with tracing_for(Purpose.ANYTHING):  # it is batched right here
        y = jax.vmap(gradient)(images, jnp.moveaxis(kernel, (-2, -3), (0, 1)))  # (g, ..., b, o)
    y = jnp.moveaxis(y, (-2, 0), (0, -2))  # (b, ..., g, o)
    return y.reshape(geometry.output.start)


def _turns(geometry: Geometry) -> int:
    """The groups of features, each of which has images of its own."""
    return geometry.spec.feature_group_count // geometry.batch_groups


def _mirrored(geometry: Geometry) -> ConvSpec:
    """The convolution of which this is the weight gradient.

    It is padded behind so that it has as many outputs as there are taps here.
    """
    spec, size = geometry.spec, geometry.images.start[1:-1]
    taps, outputs = geometry.kernel.start[:-2], geometry.output.start[1:-1]
    assert spec.padding != "SAME"  # equations have numbers
    starts = map(dilated, taps, spec.kernel_dilation)  # from the first to the last window
    windows = map(dilated, outputs, spec.strides)
    images = map(dilated, size, spec.input_dilation)
    sides = zip(spec.padding, starts, windows, images, strict=True)
    return dataclasses.replace(
        spec,
        strides=spec.kernel_dilation,
        padding=tuple((low, n - 1 + window - size - low) for (low, _), n, window, size in sides),
        kernel_dilation=spec.strides,
        feature_group_count=geometry.batch_groups,
    )
