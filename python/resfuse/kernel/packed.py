"""Packed weights, as calls take them."""

import dataclasses
from typing import Any

from jax import Array

from resfuse.kernel.call import Attribute

__all__ = ["Packed", "Rows", "as_operand"]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of an array that holds the weights of many calls.

    To a program each array is an argument, which costs every execution one to two microseconds, a
    twentieth of an EfficientNet-B0's on one image if all weights are arrays of their own.

    Attributes:
        array: ``(rows, channels of a panel)``, packed weights one after the other.
        first: where the call's begin.
    """

    array: Array
    first: int


Packed = Array | Rows
"""What :func:`resfuse.ffi.pack` returns, of four axes; or rows, where nothing but the call runs."""


def as_operand(packed: Packed, letters: str) -> tuple[Any, str, dict[str, Attribute]]:
    """A call's operand, its axes, named by four letters, and what the handler is told of it."""
    if isinstance(packed, Rows):
        return packed.array, " ".join(letters[::3]), {"row": packed.first}
    return packed, " ".join(letters), {}
