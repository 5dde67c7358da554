"""What a norm averages, and for what: batch norm pixels for each channel, others parts of an image.

A form is a polynomial; its frame says what the axes of the array are that it stands for: of the
images, or of what follows from them. Both frames have the same methods, which return None where
the axes get lost.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from resfuse.fusion.graph import Value
from resfuse.fusion.layout import Layout, Shape
from resfuse.fusion.operands import per_channel

__all__ = ["Frame", "PerChannel", "PerPart"]


@dataclasses.dataclass(frozen=True)
class PerChannel:
    """Averages over all pixels, for each channel; of images, numbers for each, or all but some."""

    layout: Layout

    @property
    def shape(self) -> Shape:
        """The array's."""
        return self.layout.shape

    @property
    def averaged(self) -> int:
        """How many numbers of the images have a mean in common."""
        return math.prod(self.shape) // self.shape[self.layout.channels]

    def reshaped(self, shape: Shape) -> "PerChannel | None":
        """After a reshape."""
        layout = self.layout.reshaped(shape)
        return None if layout is None else PerChannel(layout)

    def transposed(self, order: Shape) -> "PerChannel":
        """After a transposition."""
        return PerChannel(self.layout.transposed(order))

    def spread(self, shape: Shape, axes: Sequence[int]) -> "PerChannel | None":
        """After a broadcast of statistics."""
        channels = int(axes[self.layout.channels])
        kept = shape[channels] == self.shape[self.layout.channels]
        return PerChannel(Layout(shape, channels)) if kept else None

    def reduced(self, axes: Sequence[int], alike: bool) -> "PerChannel | None":
        """After a sum over axes; ``alike``: of numbers among which none belong to a channel."""
        del alike  # a channel's are the same for all that is averaged
        before = self.layout.channels
        if before in axes:
            return None
        shape = tuple(size for axis, size in enumerate(self.shape) if axis not in axes)
        return PerChannel(Layout(shape, before - sum(axis < before for axis in axes)))

    @property
    def is_reduced(self) -> bool:
        """Whether nothing is left to be averaged."""
        return self.averaged <= 1

    def meets(self, other: Any) -> bool:
        """Whether statistics lie as the other's array does."""
        here, there = self.layout, other.layout
        aligned = len(here.shape) == len(there.shape) and here.channels == there.channels
        return aligned or math.prod(here.shape) == 1

    def independent(self, value: Value) -> Value | None:
        """The numbers for each channel, or the one for all, of which the value is a broadcast."""
        return per_channel(value, self.layout)


Factor = tuple[int | None, int]  # its number and its size; None: numbers that are repeated
Axis = tuple[Factor, ...]  # the slowest first, none of size 1


@dataclasses.dataclass(frozen=True)
class PerPart:
    """Averages over parts of an image: over the factors of its axes that are not ``kept``.

    A layer norm's axes are a factor each, and the channels are averaged. Of a group norm's the
    channels are two, the groups and the channels of each: the batch and the groups are kept.
    """

    kept: frozenset[int]
    averaged: int  # numbers that have a mean in common
    channels: Axis
    axes: tuple[Axis, ...]

    @staticmethod
    def of_pixels(images: Shape) -> "PerPart":
        """Images for a layer norm."""
        pixels = range(len(images) - 1)
        return _of_images(frozenset(pixels), [[each] for each in images])

    @staticmethod
    def of_groups(images: Shape, groups: int) -> "PerPart":
        """Images for a group norm."""
        last = len(images) - 1
        sizes = [*([each] for each in images[:-1]), [groups, images[-1] // groups]]
        return _of_images(frozenset((0, last)), sizes)

    @property
    def shape(self) -> Shape:
        """The array's."""
        return tuple(map(_size, self.axes))

    def reshaped(self, shape: Shape) -> "PerPart | None":
        """After a reshape, which may take repeated numbers apart."""
        factors = [factor for axis in self.axes for factor in axis]
        axes = [_taken(factors, size) for size in shape]
        found = [axis for axis in axes if axis is not None]
        whole = len(found) == len(axes) and not factors
        return dataclasses.replace(self, axes=tuple(found)) if whole else None

    def transposed(self, order: Shape) -> "PerPart":
        """After a transposition."""
        return dataclasses.replace(self, axes=tuple(self.axes[axis] for axis in order))

    def spread(self, shape: Shape, axes: Sequence[int]) -> "PerPart | None":
        """After a broadcast of statistics."""
        after: list[Axis] = [() if size == 1 else ((None, size),) for size in shape]
        for place, axis in zip(axes, self.axes, strict=True):
            after[place] = axis or after[place]
        return dataclasses.replace(self, axes=tuple(after))

    def reduced(self, axes: Sequence[int], alike: bool) -> "PerPart | None":
        """After a sum over axes; ``alike``: of numbers among which none belong to a channel."""
        gone = {number for axis in axes for number, _ in self.axes[axis]}
        rest = tuple(axis for place, axis in enumerate(self.axes) if place not in axes)
        possible = alike and None not in gone and gone.isdisjoint(self.kept)
        return dataclasses.replace(self, axes=rest) if possible else None

    @property
    def is_reduced(self) -> bool:
        """Whether nothing is left to be averaged."""
        return all(number in (None, *self.kept) for axis in self.axes for number, _ in axis)

    def meets(self, other: Any) -> bool:
        """Whether statistics lie as the other's array does."""
        if len(self.axes) != len(other.axes):
            return False
        pairs = zip(self.axes, other.axes, strict=True)
        return all(not here or self._parts(here) == self._parts(there) for here, there in pairs)

    def independent(self, value: Value) -> Value | None:
        """The numbers for each channel, or the one for all, of which the value is a broadcast."""
        if not self.axes:
            return _repeated(value)
        found = per_channel(value, Layout(self.shape, len(self.shape) - 1)) or _repeated(value)
        by_channel = self._parts(self.axes[-1]) == self._parts(self.channels)
        return found if found is None or by_channel or found.aval.size == 1 else None

    def _parts(self, axis: Axis) -> list[Factor]:
        """The kept factors of the axis, and how many numbers lie between them."""
        parts: list[Factor] = []
        for number, size in axis:
            if number in self.kept:
                parts.append((number, size))
            elif parts and parts[-1][0] is None:
                parts[-1] = (None, parts[-1][1] * size)
            else:
                parts.append((None, size))
        return parts


Frame = PerChannel | PerPart


def _of_images(kept: frozenset[int], sizes: Sequence[Sequence[int]]) -> PerPart:
    numbers = itertools.count()
    axes = tuple(
        tuple((number, size) for size in each for number in [next(numbers)] if size != 1)
        for each in sizes
    )
    averaged = math.prod(size for axis in axes for number, size in axis if number not in kept)
    return PerPart(kept, averaged, axes[-1], axes)


def _size(axis: Axis) -> int:
    return math.prod(size for _, size in axis)


def _taken(factors: list[Factor], size: int) -> Axis | None:
    """Takes from the front what has ``size`` numbers; None if they break up a factor."""
    axis: list[Factor] = []
    while size != 1 and factors:
        number, extent = factors.pop(0)
        if size % extent and number is None and extent % size == 0:
            factors.insert(0, (None, extent // size))
            extent = size
        if size % extent:
            return None
        axis.append((number, extent))
        size //= extent
    return tuple(axis) if size == 1 else None


def _repeated(value: Value) -> Value | None:
    """The one number that the value repeats, in several steps perhaps."""
    node = value.producer
    while node is not None and node.name in ("broadcast_in_dim", "reshape"):
        value = node.inputs[0]
        node = value.producer
    return value if value.aval.size == 1 else None
