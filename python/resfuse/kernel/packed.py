"""Packed weights, as calls take them."""

import dataclasses
from typing import Any, NamedTuple

from jax import Array

from resfuse.kernel.call import Attribute

__all__ = ["Packed", "Rows", "Weights"]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of an array that holds the weights of many calls.

    To a program each array is an argument, which costs every execution one to two microseconds, a
    twentieth of an EfficientNet-B0's on one image if all weights are arrays of their own.

    Attributes:
        array: ``(rows, channels of a panel)``, packed weights one after the other.
        first: where the call's begin.
        has_numbers: whether its scale and shift follow them, each from a row on.
    """

    array: Array
    first: int
    has_numbers: bool


Packed = Array | Rows
"""What :func:`resfuse.ffi.pack` returns, of four axes; or rows, where nothing but the call runs."""


class Weights(NamedTuple):
    """What a call takes for its weights, scale and shift: operands, their axes, and attributes."""

    operands: tuple[Any, ...]
    rule: tuple[str, ...]
    attributes: dict[str, Attribute]

    @staticmethod
    def packed(packed: Packed, scale: Any, shift: Any, letters: str, channels: str) -> "Weights":
        """Of packed weights, whose axes four letters name."""
        if not isinstance(packed, Rows):
            return Weights((packed, scale, shift), (" ".join(letters), channels, channels), {})
        rows = " ".join(letters[::3])
        at: dict[str, Attribute] = {"row": packed.first, "has_numbers": packed.has_numbers}
        if packed.has_numbers:
            return Weights((packed.array,), (rows,), at)
        return Weights((packed.array, scale, shift), (rows, channels, channels), at)
