"""Where the axes of a tensor are, and how to bring it to the kernel's layout and back."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from jax import Array

__all__ = ["Layout", "Shape", "inverse", "mesh_axes"]

_Images = TypeVar("_Images", Array, np.ndarray)  # which stay what they are

Shape = tuple[int, ...]


def mesh_axes(aval: Any, axes: Sequence[int] | None = None) -> set[str]:
    """The axes of the mesh over which those ``axes`` of the type are sharded; all by default.

    Types say so on Explicit meshes only. On others XLA brings arrays to where a call needs them.
    """
    if not any(aval.sharding.spec):
        return set()
    spec = [*aval.sharding.spec, *[None] * aval.ndim][: aval.ndim]
    chosen = [spec[axis] for axis in (range(aval.ndim) if axes is None else axes)]
    names = [name for entry in chosen for name in (entry if isinstance(entry, tuple) else (entry,))]
    return {name for name in names if isinstance(name, str)}


@dataclasses.dataclass(frozen=True)
class Layout:
    """What became of a tensor with channels last: its shape, where its channels are, the way there.

    ``moves`` are permutations and shapes in turn: ``("transpose", order)``, ``("reshape", shape)``,
    each with the shape before it.
    """

    shape: Shape
    channels: int
    moves: tuple[tuple[str, Shape, Shape], ...] = ()

    @property
    def start(self) -> Shape:
        """The shape with channels last, before all moves."""
        return self.moves[0][2] if self.moves else self.shape

    def apply(self, y: Array) -> Array:
        """Brings a tensor with channels last to this layout."""
        for kind, arguments, _ in self.moves:
            y = y.transpose(arguments) if kind == "transpose" else y.reshape(arguments)
        return y

    def undo(self, y: _Images) -> _Images:
        """Brings a tensor from this layout to channels last."""
        for kind, arguments, before in reversed(self.moves):
            back = inverse(arguments) if kind == "transpose" else before
            y = y.transpose(back) if kind == "transpose" else y.reshape(back)
        return y

    def transposed(self, order: Shape) -> "Layout":
        """The layout after a transposition."""
        if order == tuple(range(len(order))):
            return self
        shape = tuple(self.shape[axis] for axis in order)
        move = ("transpose", order, self.shape)
        return Layout(shape, order.index(self.channels), (*self.moves, move))

    def reshaped(self, shape: Shape) -> "Layout | None":
        """The layout after a reshape; None if that breaks up the channels."""
        if shape == self.shape:
            return self
        axis = _kept(self.shape, self.channels, shape)
        if axis is None:
            return None
        return Layout(shape, axis, (*self.moves, ("reshape", shape, self.shape)))

    def place(self, axis: int) -> int | None:
        """Where an axis of the start is now; None if a move joined it to others or broke it up."""
        found: int | None = axis
        for kind, arguments, before in self.moves:
            if found is not None:
                kept = kind == "reshape"
                found = _kept(before, found, arguments) if kept else arguments.index(found)
        return found

    def resized(self, axis: int, size: int) -> "Layout":
        """The same moves of a tensor with another size along an axis that has a :meth:`place`."""
        layout = Layout(_replaced(self.start, axis, size), len(self.start) - 1)
        for kind, arguments, before in self.moves:
            if kind == "transpose":
                layout, axis = layout.transposed(arguments), arguments.index(axis)
                continue
            place = _kept(before, axis, arguments)
            assert place is not None
            reshaped = layout.reshaped(_replaced(arguments, place, size))
            assert reshaped is not None  # the channels are kept as they were
            layout, axis = reshaped, place
        return layout


def inverse(order: Shape) -> Shape:
    """The permutation that takes ``order`` back."""
    return tuple(order.index(axis) for axis in range(len(order)))


def _kept(before: Shape, axis: int, after: Shape) -> int | None:
    """Where a reshape leaves an axis: as long as it was, with as many elements in front."""
    if 0 in after:
        return None
    front = math.prod(before[:axis])
    for place, extent in enumerate(after):
        if extent == before[axis] and math.prod(after[:place]) == front:
            return place
    return None


def _replaced(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
