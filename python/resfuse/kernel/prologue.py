"""What comes before a convolution: for the kernel, and for JAX.

    x = relu(scale * concatenate(parts, -1) + shift)

Any of these may be missing. Where windows are single pixels, the kernel does it as it copies a
block of them into the cache, so what networks have in front of a 1x1 convolution and cannot leave
to the one before takes no pass over memory: batch norm and ReLU of a value that is needed elsewhere
too, an excitation for each image and channel, a concatenation. Wider windows have no more than the
last, whose parts Winograd's transforms read one by one. Under differentiation it is plain JAX.
"""

import dataclasses
import string
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jax import Array

from resfuse.kernel.call import Attribute
from resfuse.kernel.epilogue import spread

__all__ = ["MAX_PARTS", "Prologue", "Scale"]

Scale = Literal["channel", "image"]

# As the extension's limit, csrc/conv/conv.h: each part has a letter of its own in a call's rule.
MAX_PARTS = len(string.ascii_uppercase)


@dataclasses.dataclass(frozen=True)
class Prologue:
    """The static half of a prologue; the arrays are the parts, then scale, then shift.

    Attributes:
        parts: how many images ``(B, ..., C_i)`` lie side by side along the channels.
        scale: whether there is a number ``(C,)`` for each channel, ``(B, C)`` for each image and
            channel, or none.
        shift: whether there is one, ``(C,)``; none without a scale.
        relu: ``max(x, 0)`` with the derivative that is wanted, or none; none without a shift.
    """

    parts: int = 1
    scale: Scale | None = None
    shift: bool = False
    relu: Callable[[Array], Array] | None = None

    @property
    def count(self) -> int:
        """Of the arrays."""
        return self.parts + (self.scale is not None) + self.shift

    def __call__(self, *arrays: Array) -> Array:
        """``x``, in plain JAX."""
        parts, numbers = arrays[: self.parts], arrays[self.parts :]
        x = jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]
        if self.scale is not None:
            x = x * spread(numbers[0], x)
        if self.shift:
            x = x + spread(numbers[1], x)
        return x if self.relu is None else self.relu(x)

    def rule(self, x: str) -> list[str]:
        """The factors of its arrays; ``x`` are those of images."""
        pixels = x.rsplit(" ", 1)[0]
        rule = [f"{pixels} {letter}" for letter in string.ascii_uppercase[: self.parts]]
        if self.scale is not None:
            rule.append("n i" if self.scale == "image" else "i")
        return [*rule, "i"] if self.shift else rule

    @property
    def attribute(self) -> Attribute:
        """As the handler takes it: the parts, and how far it goes."""
        kind = (self.scale is not None) + self.shift + (self.relu is not None)
        return self.parts, kind
