"""What an epilogue reads beside the convolution's result: numbers, channels, images, tensors."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion.graph import Value
from resfuse.fusion.layout import Layout
from resfuse.kernel.epilogue import Kind

__all__ = ["Operand", "operand_of", "per_channel"]


@dataclasses.dataclass(frozen=True)
class Operand:
    """An array that meets the result element by element.

    Attributes:
        value: the array, or what it is a broadcast of.
        axes: those of the layout on which the axes of ``value`` lie.
        kind: ``"channel"``, ``"image"`` (a number for each image and channel) or ``"tensor"``.
        layout: of the result where they meet.
    """

    value: Value
    axes: tuple[int, ...]
    kind: Kind
    layout: Layout

    def for_kernel(self, array: Array) -> Array:
        """``(C,)``, ``(B, C)`` or ``(B, ..., C)``, from an array like ``value``."""
        if self.kind == "tensor":
            return self.layout.undo(array)
        if self.kind == "channel":
            channels = (self.layout.shape[self.layout.channels],)
            return jnp.broadcast_to(jnp.reshape(array, -1), channels)
        shape = self.layout.shape
        if not self.layout.moves:  # there may be fewer images than in the layout
            shape = (array.shape[self.axes.index(0)], *shape[1:])
        # XLA computes the slice in one: what it is a slice of is never there.
        images = self.layout.undo(lax.broadcast_in_dim(array, shape, self.axes))
        return images[(slice(None), *[0] * (images.ndim - 2))]


def operand_of(value: Value, layout: Layout) -> Operand | None:
    """The value as an operand of an operation on a result of that layout; None if it is none."""
    found = _source(value, layout)
    if found is None or value.aval.dtype != jnp.float32:
        return None
    source, axes = found
    pairs = zip(source.aval.shape, axes, strict=True)
    varying = [(axis, extent) for extent, axis in pairs if extent != 1]
    if any(extent != layout.shape[axis] for axis, extent in varying):
        return None
    kind = _kind([axis for axis, _ in varying], value, layout)
    if kind == "tensor":
        return Operand(value, tuple(range(len(layout.shape))), kind, layout)
    return None if kind is None else Operand(source, axes, kind, layout)


def per_channel(value: Value, layout: Layout) -> Value | None:
    """The value with one number per channel, or one in all, of which ``value`` is a broadcast."""
    operand = operand_of(value, layout)
    return operand.value if operand is not None and operand.kind == "channel" else None


def _source(value: Value, layout: Layout) -> tuple[Value, tuple[int, ...]] | None:
    """What the value is a broadcast of, and the axes of the layout on which that lies.

    Where nothing is repeated it is the value itself: another chain may end with that move.
    """
    shape, node = value.aval.shape, value.producer
    if shape == ():
        return value, ()
    if len(shape) != len(layout.shape):
        return None
    if (
        node is not None
        and node.name == "broadcast_in_dim"
        and value.aval.size > node.inputs[0].aval.size
    ):
        return node.inputs[0], tuple(map(int, node.params["broadcast_dimensions"]))
    return value, tuple(range(len(shape)))


def _kind(varying: Sequence[int], value: Value, layout: Layout) -> Kind | None:
    if set(varying) <= {layout.channels}:
        return "channel"
    full = value.aval.shape == layout.shape
    broadcast = math.prod(layout.shape[axis] for axis in varying) < math.prod(layout.shape)
    if full and not broadcast:
        return "tensor"
    dimensions = _dimensions(layout)
    if dimensions is not None:
        last = len(layout.start) - 1
        if set().union(*(dimensions[axis] for axis in varying)) <= {0, last}:
            return "image"
    return "tensor" if full else None


def _dimensions(layout: Layout) -> list[set[int]] | None:
    """The dimensions before the moves that each axis is made of; None if a reshape mixes them."""
    parts: list[list[tuple[int, int]]] = [[pair] for pair in enumerate(layout.start)]
    for kind, arguments, _ in layout.moves:
        if kind == "transpose":
            parts = [parts[axis] for axis in arguments]
            continue
        factors = [factor for part in parts for factor in part if factor[1] != 1]
        try:
            parts = [list(_taken(factors, size)) for size in arguments]
        except ValueError:
            return None
    return [{dimension for dimension, extent in part if extent != 1} for part in parts]


def _taken(factors: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Takes from the front what has ``size`` elements in all, if need be a part of a dimension."""
    while size != 1:
        dimension, extent = factors.pop(0)
        part = math.gcd(size, extent)
        if part not in (size, extent):
            raise ValueError(f"{size} elements do not divide {extent}")
        if part != extent:
            factors.insert(0, (dimension, extent // part))
        yield dimension, part
        size //= part
