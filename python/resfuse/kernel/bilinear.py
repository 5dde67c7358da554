"""A convolution and its two gradients, each the derivatives of the others.

All three are linear in both arguments. With ``<a, b>`` the sum of products,

    <d_y, conv(x, kernel)> = <input_gradient(d_y, kernel), x> = <weight_gradient(x, d_y), kernel>

so the cotangents of each are the other two. They run on the kernel always: who calls them is inside
the CPU's branch.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from resfuse.kernel import batching, gradient_calls
from resfuse.spec import ConvSpec

__all__ = ["conv", "gradients", "input_gradient", "varying_like", "weight_gradient"]

Pair = tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def conv(spec: ConvSpec, x: Array, kernel: Array) -> Array:
    """``(B, H, W, Cin)`` with ``(kh, kw, Cin/groups, Cout)``."""
    one, zero = jnp.ones(kernel.shape[3]), jnp.zeros(kernel.shape[3])
    return batching.conv_affine(None, x, kernel, one, zero, spec=spec, relu=False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def input_gradient(spec: ConvSpec, size: Pair, d_y: Array, kernel: Array) -> Array:
    """The cotangent of ``x`` of ``size``, its height and width."""
    return gradient_calls.input_gradient(d_y, kernel, size=size, spec=spec)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def weight_gradient(spec: ConvSpec, window: Pair, x: Array, d_y: Array) -> Array:
    """The cotangent of a kernel of ``window``, its height and width."""
    return gradient_calls.weight_gradient(x, d_y, window=window, spec=spec)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    """The cotangents of ``x`` and of ``kernel``, in one call.

    Between two calls XLA could update weights in place, as optimizers do, before the gradient by
    the input has read them; to be safe it would copy all of them first.
    """
    return gradient_calls.gradients(x, kernel, d_y, spec=spec)


def _two_gradients(spec: ConvSpec, x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
    by_x = input_gradient(spec, x.shape[1:3], d_y, kernel)
    return by_x, weight_gradient(spec, kernel.shape[:2], x, d_y)


def varying_like(cotangent: Array, primal: Array) -> Array:
    """``cotangent``, summed over the devices of a ``shard_map`` that share ``primal``.

    Adding what differs from device to device is what makes a shared array differ; JAX's transpose
    of that is the sum. The addition itself is never computed.
    """
    _, pull = jax.vjp(lambda primal: primal + cotangent, primal)
    return pull(cotangent)[0]


def _pair(first: Array, second: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    return varying_like(first, saved[0]), varying_like(second, saved[1])


def _conv_backward(spec: ConvSpec, saved: tuple[Array, Array], d_y: Array) -> Any:
    return _pair(*_two_gradients(spec, *saved, d_y), saved)


def _input_backward(spec: ConvSpec, size: Pair, saved: tuple[Array, Array], d_x: Array) -> Any:
    del size
    d_y, kernel = saved
    by_kernel = weight_gradient(spec, kernel.shape[:2], d_x, d_y)
    return _pair(conv(spec, d_x, kernel), by_kernel, saved)


def _weight_backward(
    spec: ConvSpec, window: Pair, saved: tuple[Array, Array], d_kernel: Array
) -> Any:
    del window
    x, d_y = saved
    by_x = input_gradient(spec, x.shape[1:3], d_y, d_kernel)
    return _pair(by_x, conv(spec, x, d_kernel), saved)


conv.defvjp(lambda spec, *pair: (conv(spec, *pair), pair), _conv_backward)
input_gradient.defvjp(
    lambda spec, size, *pair: (input_gradient(spec, size, *pair), pair), _input_backward
)
weight_gradient.defvjp(
    lambda spec, window, *pair: (weight_gradient(spec, window, *pair), pair), _weight_backward
)


def _gradients_backward(spec: ConvSpec, operands: Any, cotangents: Any) -> Any:
    return jax.vjp(functools.partial(_two_gradients, spec), *operands)[1](cotangents)


gradients.defvjp(lambda spec, *ops: (gradients(spec, *ops), ops), _gradients_backward)
