"""A convolution on the kernel, and its two gradients, each the derivatives of the others.

All three are linear in both arguments. With ``<a, b>`` the sum of products,

    <d_y, conv(x, kernel)> = <input_gradient(d_y, kernel), x> = <weight_gradient(x, d_y), kernel>

so the cotangents of each are the other two. They run on the kernel always: who calls them is inside
the CPU's branch.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from resfuse.kernel import extension
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.derivatives import varying_like
from resfuse.kernel.program import Program
from resfuse.spec import ConvSpec

__all__ = [
    "attributes",
    "conv",
    "gradients",
    "input_gradient",
    "unsupported",
    "weight_gradient",
]

Pair = tuple[int, int]

_MAX_EXTENT = 2**31  # of strides and padding


def unsupported(
    x: tuple[int, ...], kernel: tuple[int, ...], dtype: Any, spec: ConvSpec
) -> str | None:
    """Why the kernel cannot convolve these shapes in ``dtype``, or None."""
    if not extension.available():
        return extension.unavailable_reason()
    if dtype != jnp.float32:
        return f"the kernel computes in float32, not in {dtype}"
    if 0 in x[-3:] or math.prod(kernel) == 0:
        return f"x of shape {x} or kernel of shape {kernel} is empty"
    if len(spec.strides) != 2 or {*spec.input_dilation, *spec.kernel_dilation} != {1}:
        return "the kernel takes two dimensions without dilation"
    if spec.padding == "SAME":
        return f'padding="SAME" of x of shape {x} depends on a symbolic size'
    if min(spec.pixels) < 0:
        return "the kernel does not crop images"
    if max(*spec.strides, *spec.pixels) > _MAX_EXTENT:
        return f"strides={spec.strides} and padding={spec.padding} must be at most 2**31"
    return None


def attributes(spec: ConvSpec) -> dict[str, Attribute]:
    """The static half of a convolution, as the handlers take it."""
    return {
        "winograd": spec.allows_winograd,
        "strides": spec.strides,
        "padding": spec.pixels,
        "image_dilation": spec.input_dilation,
        "window_dilation": spec.kernel_dilation,
        "groups": spec.feature_group_count,
    }


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def conv(spec: ConvSpec, x: Array, kernel: Array) -> Array:
    """``(B, H, W, Cin)`` with ``(kh, kw, Cin/groups, Cout)``."""
    _, height, width, channels = spec.output_shape(x.shape, kernel.shape)
    call = Call(
        "conv_affine",
        "n h w i, p q j o, o, o -> n y x o",
        sizes={"y": height, "x": width},
        attributes=attributes(spec) | Program().attributes | {"packed": ()},
    )
    return call(x, kernel, jnp.ones(channels, x.dtype), jnp.zeros(channels, x.dtype))[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def input_gradient(spec: ConvSpec, size: Pair, d_y: Array, kernel: Array) -> Array:
    """The cotangent ``(B, H, W, Cin)`` of ``x``, whose height and width is ``size``."""
    sizes = {"h": size[0], "w": size[1], "i": kernel.shape[2] * spec.feature_group_count}
    rule = "n y x o, p q j o -> n h w i"
    return Call("conv_input_gradient", rule, sizes, attributes(spec))(d_y, kernel)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def weight_gradient(spec: ConvSpec, window: Pair, x: Array, d_y: Array) -> Array:
    """The cotangent of a kernel of height and width ``window``, summed over pixels and images."""
    channels = x.shape[3] // spec.feature_group_count, d_y.shape[3]
    sizes = dict(zip("pqjo", (*window, *channels), strict=True))
    # The output's channels have another letter in `d_y`: the kernel is whole on every device.
    rule = "n h w i, n y x c -> p q j o"
    return Call("conv_weight_gradient", rule, sizes, attributes(spec))(x, d_y)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    """The cotangents of ``x`` and of ``kernel``, in one call.

    Between two calls XLA could update weights in place, as optimizers do, before the input gradient
    has read them; to be safe it would copy all of them first.
    """
    rule = "n h w i, p q j o, n y x c -> n h w i, p q j o"
    d_x, d_kernel = Call("conv_gradients", rule, attributes=attributes(spec))(x, kernel, d_y)
    return d_x, d_kernel


def _two_gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    d_x = input_gradient(spec, x.shape[1:3], d_y, kernel)
    return d_x, weight_gradient(spec, kernel.shape[:2], x, d_y)


def _pair(first: Array, second: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    return varying_like(first, saved[0]), varying_like(second, saved[1])


def _conv_backward(spec: ConvSpec, saved: tuple[Array, Array], d_y: Array) -> Any:
    return _pair(*_two_gradients(spec, *saved, d_y), saved)


def _input_backward(spec: ConvSpec, size: Pair, saved: tuple[Array, Array], d_x: Array) -> Any:
    del size
    d_y, kernel = saved
    d_kernel = weight_gradient(spec, kernel.shape[:2], d_x, d_y)
    return _pair(conv(spec, d_x, kernel), d_kernel, saved)


def _weight_backward(
    spec: ConvSpec, window: Pair, saved: tuple[Array, Array], d_kernel: Array
) -> Any:
    del window
    x, d_y = saved
    d_x = input_gradient(spec, x.shape[1:3], d_y, d_kernel)
    return _pair(d_x, conv(spec, x, d_kernel), saved)


def _gradients_backward(spec: ConvSpec, operands: Any, cotangents: Any) -> Any:
    return jax.vjp(functools.partial(_two_gradients, spec), *operands)[1](cotangents)


conv.defvjp(lambda spec, *pair: (conv(spec, *pair), pair), _conv_backward)
input_gradient.defvjp(
    lambda spec, size, *pair: (input_gradient(spec, size, *pair), pair), _input_backward
)
weight_gradient.defvjp(
    lambda spec, window, *pair: (weight_gradient(spec, window, *pair), pair), _weight_backward
)
gradients.defvjp(lambda spec, *ops: (gradients(spec, *ops), ops), _gradients_backward)
