"""Transposed convolutions with few output channels, as ordinary ones with more.

With zeros between the pixels of a side, ``b - 1`` after each, the outputs ``b u, b u + 1, ...``
meet the same few pixels and different taps. Together they are one pixel of ``b C`` channels. With
``r = pad mod b``,

    y[b u + k] = sum over t of  x[u + t - floor(pad / b)] * kernel[b t + r - k],   0 <= k < b,

where ``kernel`` is 0 outside itself: an ordinary convolution, whose kernel is the other one padded
and cut into pieces of ``b``. A vector of lanes then serves several outputs where ``C`` alone would
leave most of it empty, and one pass over the image all of them: a filter bank of 1024 taps back to
one channel, 256 apart, takes a thirtieth of the time. Along the width, the outputs of such a pixel
lie side by side; where other sides are folded as well, they are moved to their places at the end.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.spec import ConvSpec

__all__ = ["GAIN", "LANES", "Fold", "fold_of"]

LANES = 16  # of the widest vector
GAIN = 1.3  # at least so much less work, for zeros are multiplied and arrays are rearranged
_NONE = (0, 0, 0)  # to pad with

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Side:
    """A side of which ``step`` outputs are one pixel; nothing changes where it is 1."""

    step: int  # b
    width: int  # of the kernel
    pads: tuple[int, int]

    @property
    def shift(self) -> int:
        """``r``."""
        return self.pads[0] % self.step

    @property
    def taps(self) -> int:
        """The width of the folded kernel."""
        return -(-(self.width + self.step - 1 - self.shift) // self.step)

    @property
    def edges(self) -> tuple[int, int, int]:
        """What the kernel is padded with."""
        before = self.step - 1 - self.shift
        return before, self.taps * self.step - self.width - before, 0

    @property
    def folded_pads(self) -> tuple[int, int]:
        """Of the folded convolution, whose last pixel may end beyond the outputs.

        It has ceil(outputs of the plain one / step), whatever the image.
        """
        before, after = self.pads
        room = after + 2 + self.shift - self.width + (self.taps - 2) * self.step
        return (before - self.shift) // self.step, -(-room // self.step)


@dataclasses.dataclass(frozen=True)
class Fold:
    """How a convolution becomes one of several times the output channels."""

    plain: ConvSpec  # the convolution as it was
    window: Sizes  # of its kernel
    steps: Sizes  # of each side: its dilation, or 1 where it is not folded

    @property
    def sides(self) -> list[_Side]:
        """One for each spatial dimension."""
        assert self.plain.padding != "SAME"
        return [
            _Side(*each) for each in zip(self.steps, self.window, self.plain.padding, strict=True)
        ]

    @property
    def spec(self) -> ConvSpec:
        """The folded convolution's."""
        pads = tuple(side.folded_pads for side in self.sides)
        dilation = tuple(
            1 if step > 1 else given
            for step, given in zip(self.steps, self.plain.input_dilation, strict=True)
        )
        return dataclasses.replace(self.plain, padding=pads, input_dilation=dilation)

    def work(self, outputs: int) -> int:
        """Vectors of products for each pixel of the image and input channel."""
        taps = math.prod(side.taps for side in self.sides)
        return taps * -(-math.prod(self.steps) * outputs // LANES)

    def type_of(self, kernel: Any) -> jax.ShapeDtypeStruct:
        """That of the folded kernel."""
        *_, inputs, outputs = kernel.shape
        taps = (side.taps for side in self.sides)
        shape = *taps, inputs, math.prod(self.steps) * outputs
        return jax.ShapeDtypeStruct(shape, kernel.dtype)

    def kernel(self, kernel: Array) -> Array:
        """``(..., kw, Cin, Cout)`` as ``(..., taps, Cin, steps * Cout)``."""
        *_, inputs, outputs = kernel.shape
        pads = [*(side.edges for side in self.sides), _NONE, _NONE]
        kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), pads)
        taps = [side.taps for side in self.sides]
        kernel = kernel.reshape(*_pairs(taps, self.steps), inputs, outputs)
        folded, steps = _axes(0, len(taps))
        kernel = jnp.flip(kernel, steps)
        kernel = kernel.transpose(*folded, 2 * len(taps), *steps, 2 * len(taps) + 1)
        return kernel.reshape(*taps, inputs, math.prod(self.steps) * outputs)

    def operand(self, values: Array, shape: tuple[int, ...]) -> Array:
        """What belongs to outputs of the folded ``shape``: images, or numbers per channel."""
        if values.ndim < len(shape):
            return jnp.tile(values, math.prod(self.steps))
        batch, *sizes, channels = values.shape
        whole = zip(shape[1:-1], self.steps, sizes, strict=True)
        pads = [_NONE, *((0, n * step - size, 0) for n, step, size in whole), _NONE]
        values = lax.pad(values, jnp.zeros((), values.dtype), pads)
        values = values.reshape(batch, *_pairs(shape[1:-1], self.steps), channels)
        folded, steps = _axes(1, len(self.steps))
        return values.transpose(0, *folded, *steps, values.ndim - 1).reshape(shape)

    def unfolded(self, y: Array, shape: tuple[int, ...]) -> Array:
        """The folded output's pixels, of those of ``shape``."""
        batch, *sizes, _ = y.shape
        count = len(sizes)
        y = y.reshape(batch, *sizes, *self.steps, shape[-1])
        places = zip(range(1, count + 1), range(count + 1, 2 * count + 1), strict=True)
        y = y.transpose(0, *itertools.chain.from_iterable(places), y.ndim - 1)
        whole = [n * step for n, step in zip(sizes, self.steps, strict=True)]
        y = y.reshape(batch, *whole, shape[-1])
        for axis, size in enumerate(shape[1:-1], 1):
            y = lax.slice_in_dim(y, 0, size, axis=axis)
        return y

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether no pixel of the folded output ends beyond one of ``shape``, a known one."""
        sides = zip(shape[1:-1], self.steps, strict=True)
        return all(isinstance(size, int) and size % step == 0 for size, step in sides)


def _pairs(sizes: Sizes | list[int], steps: Sizes) -> list[int]:
    """Each side's folded size and its step."""
    return list(itertools.chain.from_iterable(zip(sizes, steps, strict=True)))


def _axes(first: int, count: int) -> tuple[list[int], list[int]]:
    """Those of the sizes and those of the steps among :func:`_pairs`."""
    end = first + 2 * count
    return list(range(first, end, 2)), list(range(first + 1, end, 2))


def fold_of(spec: ConvSpec, kernel: tuple[int, ...]) -> Fold | None:
    """The fold of a convolution with this kernel's shape, where it pays; it asks no image.

    Sides are folded from the width on, each if that makes the work so much less.
    """
    *window, _, outputs = kernel
    if spec.padding == "SAME" or spec.feature_group_count > 1:
        return None
    fold = Fold(spec, tuple(window), (1,) * len(window))
    for axis in reversed(range(len(window))):
        if spec.strides[axis] == spec.kernel_dilation[axis] == 1 < spec.input_dilation[axis]:
            steps = (*fold.steps[:axis], spec.input_dilation[axis], *fold.steps[axis + 1 :])
            further = dataclasses.replace(fold, steps=steps)
            fold = further if further.work(outputs) * GAIN <= fold.work(outputs) else fold
    return fold if {*fold.steps} != {1} else None
