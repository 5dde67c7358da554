"""Norms of images by their own statistics, on the kernel; XLA takes five passes for each.

Layer norm reads and writes each pixel once. Group norm takes two passes, the second with SiLU or a
gate behind it.
"""

import dataclasses
import functools
import string
from typing import Any

import jax
from jax import Array

from resfuse import reference
from resfuse.kernel.batch_norm import Ending
from resfuse.kernel.call import Attribute, Call, bits
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.purpose import by_platform

__all__ = ["GroupNorm", "LayerNorm", "image_norm"]


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """The static half of a call for layer norm, of images of any rank.

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

    def call(self, rule: str) -> Call:
        """The call of that rule."""
        own: dict[str, Attribute] = {"epsilon": bits(self.epsilon), "centred": self.centred}
        place = 0 if self.in_place else None
        return Call("layer_norm", rule, attributes=own, in_place=place)


@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """The static half of a call for group norm, of images of one to three dimensions.

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

    def call(self, rule: str) -> Call:
        """The call of that rule."""
        own: dict[str, Attribute] = {"epsilon": bits(self.epsilon), "groups": self.groups}
        return Call("group_norm", rule, attributes=own | self.ending.attributes)


Static = LayerNorm | GroupNorm


def image_norm(x: Array, scale: Array, bias: Array, *, static: Static) -> Array:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, ..., C)``, float32 as all arrays; not empty.
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
def _on_cpu(static: Static, x: Array, scale: Array, bias: Array) -> Array:
    images = " ".join(["n", *string.ascii_lowercase[: x.ndim - 2], "z"])
    return static.call(f"{images}, z, z -> {images}")(x, scale, bias)[0]


def _forward(static: Static, *operands: Array) -> tuple[Array, Any]:
    return _on_cpu(static, *operands), operands  # XLA copies x first if it is to be replaced


def _backward(static: Static, operands: tuple[Array, ...], d_y: Array) -> tuple[Array, ...]:
    cotangents = jax.vjp(static.plain, *operands)[1](d_y)
    return tuple(map(varying_like, cotangents, operands))


_on_cpu.defvjp(_forward, _backward)
