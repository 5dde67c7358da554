"""A convolution on the kernel, and its two gradients, each the derivatives of the others.

All three are linear in both arguments. With ``<a, b>`` the sum of products,

    <d_y, conv(x, kernel)> = <input_gradient(d_y, kernel), x> = <weight_gradient(x, d_y), kernel>

so the cotangents of each are the other two. They run on the kernel always: who calls them is inside
the CPU's branch.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from resfuse.kernel import extension
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.derivatives import varying_like
from resfuse.kernel.exchange import exchanged
from resfuse.kernel.program import Program
from resfuse.spec import ConvSpec

__all__ = [
    "Axes",
    "attributes",
    "axes",
    "conv",
    "gradients",
    "input_gradient",
    "unsupported",
    "weight_gradient",
]

Sizes = tuple[int, ...]  # of the spatial dimensions

_MAX_EXTENT = 2**31  # of strides, dilations and padding
_MAX_PHASES = 2**14  # each has a plan


def unsupported(
    x: tuple[int, ...], kernel: tuple[int, ...], dtype: Any, spec: ConvSpec
) -> str | None:
    """Why the kernel cannot convolve these shapes in ``dtype``, or None."""
    if not extension.available():
        return extension.unavailable_reason()
    if dtype != jnp.float32:
        return f"the kernel computes in float32, not in {dtype}"
    dimensions = len(spec.strides)
    if not 1 <= dimensions <= 3:
        return f"the kernel takes one to three spatial dimensions, got {dimensions}"
    if 0 in x[-dimensions - 1 :] or math.prod(kernel) == 0:
        return f"x of shape {x} or kernel of shape {kernel} is empty"
    if spec.padding == "SAME":
        return f'padding="SAME" of x of shape {x} depends on a symbolic size'
    extents = *spec.strides, *spec.input_dilation, *spec.kernel_dilation, *map(abs, spec.pixels)
    if max(extents) > _MAX_EXTENT:
        return "strides, dilations and padding must be at most 2**31, got " + _told(spec)
    y = spec.output_shape((1, *x[-dimensions - 1 :]), kernel)
    back = dataclasses.replace(spec, strides=spec.input_dilation, input_dilation=spec.strides)
    if max(_phases(spec, y[1:-1]), _phases(back, x[-dimensions - 1 : -1])) > _MAX_PHASES:
        return f"there are more than {_MAX_PHASES} phases of pixels with " + _told(spec)
    return None


def _told(spec: ConvSpec) -> str:
    return (
        f"strides={spec.strides}, input_dilation={spec.input_dilation}, "
        f"kernel_dilation={spec.kernel_dilation} and padding={spec.padding}"
    )


def _phases(spec: ConvSpec, out: Sizes) -> int:
    """How many convolutions without dilation of the input are one of this output.

    Where zeros lie between the pixels, the outputs meet different taps in turn, see
    ``csrc/conv/phases.h``.
    """
    sides = zip(spec.input_dilation, spec.strides, out, strict=True)
    turns = ((dilation // math.gcd(dilation, stride), size) for dilation, stride, size in sides)
    return math.prod(min(t, n) if isinstance(n, int) else t for t, n in turns)


@dataclasses.dataclass(frozen=True)
class Axes:
    """The factors of a convolution's arrays in a call's rule; fewer dimensions are the last."""

    dimensions: int

    @property
    def x(self) -> str:
        """The images: ``n d h w i``."""
        return " ".join(["n", *"dhw"[-self.dimensions :], "i"])

    @property
    def kernel(self) -> str:
        """The weights: ``r p q j o``."""
        return " ".join([*"rpq"[-self.dimensions :], "j", "o"])

    @property
    def y(self) -> str:
        """The outputs: ``n z y x o``."""
        return " ".join(["n", *"zyx"[-self.dimensions :], "o"])

    def of_y(self, shape: Sizes) -> dict[str, int]:
        """The spatial sizes of an output of this shape."""
        return dict(zip("zyx"[-self.dimensions :], shape[1:-1], strict=True))


def axes(spec: ConvSpec) -> Axes:
    """Those of a convolution."""
    return Axes(len(spec.strides))


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
    """``(B, ..., Cin)`` with ``(..., Cin/groups, Cout)``."""
    shape = spec.output_shape(x.shape, kernel.shape)
    name = axes(spec)
    call = Call(
        "conv_affine",
        f"{name.x}, {name.kernel}, o, o -> {name.y}",
        sizes=name.of_y(shape),
        attributes=attributes(spec) | Program().attributes | {"packed": (), "prologue": ()},
    )
    one, zero = jnp.ones(shape[-1], x.dtype), jnp.zeros(shape[-1], x.dtype)
    return call(x, kernel, one, zero)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def input_gradient(spec: ConvSpec, size: Sizes, d_y: Array, kernel: Array) -> Array:
    """The cotangent ``(B, *size, Cin)`` of ``x``."""
    name = axes(spec)
    sizes = dict(zip("dhw"[-len(size) :], size, strict=True))
    sizes["i"] = kernel.shape[-2] * spec.feature_group_count
    rule = f"{name.y}, {name.kernel} -> {name.x}"
    return Call("conv_input_gradient", rule, sizes, attributes(spec))(d_y, kernel)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def weight_gradient(spec: ConvSpec, window: Sizes, x: Array, d_y: Array) -> Array:
    """The cotangent of a kernel of size ``window``, summed over pixels and images."""
    channels = x.shape[-1] // spec.feature_group_count, d_y.shape[-1]
    kernel = jax.ShapeDtypeStruct((*window, *channels), x.dtype)
    mirror, swapped = exchanged(spec, x.shape, d_y.shape, window), (*window, *channels[::-1])
    if mirror and not unsupported(d_y.shape, swapped, x.dtype, mirror):
        transposed = weight_gradient(mirror, window, d_y, x)
        return jnp.flip(jnp.swapaxes(transposed, -2, -1), range(len(window)))
    name = axes(spec)
    sizes = dict(zip(name.kernel.split(), kernel.shape, strict=True))
    # The output's channels have another letter in `d_y`: the kernel is whole on every device.
    rule = f"{name.x}, {name.y.replace('o', 'c')} -> {name.kernel}"
    return Call("conv_weight_gradient", rule, sizes, attributes(spec))(x, d_y)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    """The cotangents of ``x`` and of ``kernel``, in one call.

    Between two calls XLA could update weights in place, as optimizers do, before the input gradient
    has read them; to be safe it would copy all of them first.
    """
    name = axes(spec)
    rule = f"{name.x}, {name.kernel}, {name.y.replace('o', 'c')} -> {name.x}, {name.kernel}"
    d_x, d_kernel = Call("conv_gradients", rule, attributes=attributes(spec))(x, kernel, d_y)
    return d_x, d_kernel


def _two_gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    d_x = input_gradient(spec, x.shape[1:-1], d_y, kernel)
    return d_x, weight_gradient(spec, kernel.shape[:-2], x, d_y)


def _pair(first: Array, second: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    return varying_like(first, saved[0]), varying_like(second, saved[1])


def _conv_backward(spec: ConvSpec, saved: tuple[Array, Array], d_y: Array) -> Any:
    return _pair(*_two_gradients(spec, *saved, d_y), saved)


def _input_backward(spec: ConvSpec, size: Sizes, saved: tuple[Array, Array], d_x: Array) -> Any:
    del size
    d_y, kernel = saved
    d_kernel = weight_gradient(spec, kernel.shape[:-2], d_x, d_y)
    return _pair(conv(spec, d_x, kernel), d_kernel, saved)


def _weight_backward(
    spec: ConvSpec, window: Sizes, saved: tuple[Array, Array], d_kernel: Array
) -> Any:
    del window
    x, d_y = saved
    d_x = input_gradient(spec, x.shape[1:-1], d_y, d_kernel)
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
