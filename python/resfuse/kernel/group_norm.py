"""Group norm with SiLU or a gate behind it, on the kernel, in two passes."""

import dataclasses
import functools
from typing import Any

import jax
from jax import Array

from resfuse import reference
from resfuse.kernel.batch_norm import Ending
from resfuse.kernel.call import Call
from resfuse.kernel.conv import Axes
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.kernel.layer_norm import bits
from resfuse.purpose import by_platform

__all__ = ["GroupNorm", "group_norm"]


@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """The static half of a call.

    Attributes:
        groups: how many groups of channels an image has; each has its own statistics.
        epsilon: what is added to the variance, as float32.
        ending: the function behind it; ``Gate()`` is none.
    """

    groups: int
    epsilon: float
    ending: Ending

    def plain(self, x: Array, scale: Array, bias: Array) -> Array:
        """The reference's result."""
        y = reference.group_norm(x, scale, bias, groups=self.groups, epsilon=self.epsilon)
        return self.ending(y)


def group_norm(x: Array, scale: Array, bias: Array, *, static: GroupNorm) -> Array:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, ..., C)`` of one to three dimensions, float32 as all arrays; not empty.
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
def _on_cpu(static: GroupNorm, x: Array, scale: Array, bias: Array) -> Array:
    images = Axes(x.ndim - 2).y
    call = Call(
        "group_norm",
        f"{images}, o, o -> {images}",
        attributes=static.ending.attributes
        | {"epsilon": bits(static.epsilon), "groups": static.groups},
    )
    return call(x, scale, bias)[0]


def _forward(static: GroupNorm, *operands: Array) -> tuple[Array, Any]:
    return _on_cpu(static, *operands), operands


def _backward(static: GroupNorm, operands: tuple[Array, ...], d_y: Array) -> tuple[Array, ...]:
    cotangents = jax.vjp(static.plain, *operands)[1](d_y)
    return tuple(map(varying_like, cotangents, operands))


_on_cpu.defvjp(_forward, _backward)
