"""What a norm averages, and for what: batch norm pixels for each channel, layer norm the channels.

A form is a polynomial; its frame says what the axes of the array are that it stands for: of the
images, or of what follows from them. Both frames have the same methods, which return None where
the axes get lost.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from resfuse.fusion.graph import Value
from resfuse.fusion.layout import Layout, Shape
from resfuse.fusion.operands import per_channel

__all__ = ["Frame", "PerChannel", "PerPixel"]


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

    def reduced(self, axes: Sequence[int], shape: Shape, alike: bool) -> "PerChannel | None":
        """After a sum over axes; ``alike``: of numbers among which none belong to a channel."""
        del alike  # a channel's are the same for all that is averaged
        before = self.layout.channels
        if before in axes:
            return None
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


@dataclasses.dataclass(frozen=True)
class PerPixel:
    """Averages over the channels, the last axis of ``images``, for each pixel.

    ``shape`` is the images', or has one channel, or lacks the axis.
    """

    images: Shape
    shape: Shape

    @property
    def averaged(self) -> int:
        """How many numbers of the images have a mean in common."""
        return self.images[-1]

    @property
    def _of_pixels(self) -> tuple[Shape, Shape]:
        return self.images[:-1], (*self.images[:-1], 1)

    def reshaped(self, shape: Shape) -> "PerPixel | None":
        """After a reshape."""
        kept = shape == self.shape or {shape, self.shape} <= {*self._of_pixels}
        return PerPixel(self.images, shape) if kept else None

    def transposed(self, order: Shape) -> "PerPixel | None":
        """After a transposition."""
        return self if order == tuple(range(len(order))) else None

    def spread(self, shape: Shape, axes: Sequence[int]) -> "PerPixel | None":
        """After a broadcast of statistics."""
        in_place = tuple(axes) == tuple(range(len(self.shape)))
        kept = shape in (self.images, *self._of_pixels)
        return PerPixel(self.images, shape) if in_place and kept else None

    def reduced(self, axes: Sequence[int], shape: Shape, alike: bool) -> "PerPixel | None":
        """After a sum over axes; ``alike``: of numbers among which none belong to a channel."""
        whole = self.shape == self.images and tuple(axes) == (len(self.images) - 1,)
        return PerPixel(self.images, shape) if whole and alike else None

    @property
    def is_reduced(self) -> bool:
        """Whether nothing is left to be averaged."""
        return self.shape in self._of_pixels

    def meets(self, other: Any) -> bool:
        """Whether statistics lie as the other's array does."""
        return self.shape == other.shape or self.shape == (*other.shape[:-1], 1)

    def independent(self, value: Value) -> Value | None:
        """The numbers for each channel, or the one for all, of which the value is a broadcast."""
        found = per_channel(value, Layout(self.shape, len(self.shape) - 1)) or _repeated(value)
        by_channel = self.shape == self.images
        return found if found is None or by_channel or found.aval.size == 1 else None


Frame = PerChannel | PerPixel


def _repeated(value: Value) -> Value | None:
    """The one number that the value repeats, in several steps perhaps."""
    node = value.producer
    while node is not None and node.name in ("broadcast_in_dim", "reshape"):
        value = node.inputs[0]
        node = value.producer
    return value if value.aval.size == 1 else None
