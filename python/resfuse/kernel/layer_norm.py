"""Layer norm on the kernel, which reads and writes each pixel once; XLA takes five passes."""

import dataclasses
import functools
import string
from typing import Any

import jax
import numpy as np
from jax import Array

from resfuse import reference
from resfuse.kernel.call import Call
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.purpose import by_platform

__all__ = ["LayerNorm", "bits", "layer_norm"]


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """The static half of a call.

    Attributes:
        epsilon: what is added to the variance, as float32.
        centred: whether the mean is subtracted; RMS norm has none.
        in_place: whether the result may take the memory of ``x``.
    """

    epsilon: float
    centred: bool = True
    in_place: bool = False

    def plain(self, x: Array, scale: Array, bias: Array) -> Array:
        """The reference's result."""
        return reference.layer_norm(x, scale, bias, epsilon=self.epsilon, centred=self.centred)


def layer_norm(x: Array, scale: Array, bias: Array, *, static: LayerNorm) -> Array:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, ..., C)``, float32 as all arrays, with at least one channel.
        scale: ``(C,)``.
        bias: ``(C,)``.
        static: all else.

    Returns:
        ``(B, ..., C)``.
    """

    def on_cpu(x: Array, scale: Array, bias: Array) -> Array:
        return bare(_on_cpu)(static, *refuse_forward_mode((x, scale, bias)))

    return by_platform(x, scale, bias, cpu=on_cpu, default=static.plain)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _on_cpu(static: LayerNorm, x: Array, scale: Array, bias: Array) -> Array:
    pixels = " ".join(string.ascii_lowercase[: x.ndim - 2])
    images = f"n {pixels} z"
    call = Call(
        "layer_norm",
        f"{images}, z, z -> {images}",
        attributes={"epsilon": bits(static.epsilon), "centred": static.centred},
        in_place=0 if static.in_place else None,
    )
    return call(x, scale, bias)[0]


def bits(number: float) -> tuple[int, ...]:
    """The number in float32, as handlers take it."""
    return tuple(np.array([number], np.float32).view(np.uint32).tolist())


def _forward(static: LayerNorm, *operands: Array) -> tuple[Array, Any]:
    return _on_cpu(dataclasses.replace(static, in_place=False), *operands), operands


def _backward(static: LayerNorm, operands: tuple[Array, ...], d_y: Array) -> tuple[Array, ...]:
    cotangents = jax.vjp(static.plain, *operands)[1](d_y)
    return tuple(map(varying_like, cotangents, operands))


_on_cpu.defvjp(_forward, _backward)
