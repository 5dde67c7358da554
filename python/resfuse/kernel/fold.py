"""Transposed convolutions with few output channels, as ordinary ones with more.

With zeros between the pixels of a row, ``b - 1`` after each, the outputs ``b u, b u + 1, ...`` meet
the same few pixels and different taps, and lie side by side. Together they are one pixel of ``b C``
channels. With ``r = pad mod b``,

    y[b u + k] = sum over t of  x[u + t - floor(pad / b)] * kernel[b t + r - k],   0 <= k < b,

where ``kernel`` is 0 outside itself: an ordinary convolution, whose kernel is the other one padded
and cut into pieces of ``b``. A vector of lanes then serves several outputs where ``C`` alone would
leave most of it empty, and one pass over the image all of them: a filter bank of 1024 taps back to
one channel, 256 apart, takes a thirtieth of the time.
"""

import dataclasses
import math

import jax.numpy as jnp
from jax import Array, lax

from resfuse.spec import ConvSpec

__all__ = ["Fold", "fold_of"]

_LANES = 16  # of the widest vector
_GAIN = 1.3  # at least so much less work, for zeros are multiplied and the kernel is rearranged


@dataclasses.dataclass(frozen=True)
class Fold:
    """How a convolution becomes one of ``step`` times the output channels."""

    plain: ConvSpec  # the convolution as it was
    width: int  # of its kernel

    @property
    def step(self) -> int:
        """``b``."""
        return self.plain.input_dilation[-1]

    @property
    def shift(self) -> int:
        """``r``."""
        return self.plain.pixels[-2] % self.step

    @property
    def taps(self) -> int:
        """The width of the folded kernel."""
        return -(-(self.width + self.step - 1 - self.shift) // self.step)

    @property
    def spec(self) -> ConvSpec:
        """The folded convolution's, whose last pixel of a row may end beyond the row."""
        assert self.plain.padding != "SAME"
        *others, (before, after) = self.plain.padding
        # As many outputs as ceil(outputs of the plain one / step), whatever the image.
        room = after + 2 + self.shift - self.width + (self.taps - 2) * self.step
        pads = (before - self.shift) // self.step, -(-room // self.step)
        dilation = (*self.plain.input_dilation[:-1], 1)
        return dataclasses.replace(self.plain, padding=(*others, pads), input_dilation=dilation)

    def kernel(self, kernel: Array) -> Array:
        """``(..., kw, Cin, Cout)`` as ``(..., taps, Cin, step * Cout)``."""
        *others, width, inputs, outputs = kernel.shape
        before = self.step - 1 - self.shift
        edges = (before, self.taps * self.step - width - before, 0)
        none = (0, 0, 0)
        pads = [*[none] * len(others), edges, none, none]
        kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), pads)
        kernel = kernel.reshape(*others, self.taps, self.step, inputs, outputs)
        kernel = jnp.swapaxes(jnp.flip(kernel, -3), -3, -2)
        return kernel.reshape(*others, self.taps, inputs, self.step * outputs)

    def operand(self, values: Array, shape: tuple[int, ...]) -> Array:
        """What belongs to outputs of the folded ``shape``: images, or numbers per channel."""
        if values.ndim < len(shape):
            return jnp.tile(values, self.step)
        missing = shape[-2] * self.step - values.shape[-2]
        pads = [(0, 0, 0)] * (values.ndim - 2) + [(0, missing, 0), (0, 0, 0)]
        return lax.pad(values, jnp.zeros((), values.dtype), pads).reshape(shape)

    def unfolded(self, y: Array, width: int) -> Array:
        """The folded output's first ``width`` pixels of each row."""
        rows = y.reshape(*y.shape[:-2], y.shape[-2] * self.step, y.shape[-1] // self.step)
        return lax.slice_in_dim(rows, 0, width, axis=rows.ndim - 2)

    def is_whole(self, width: int) -> bool:
        """Whether no pixel of the folded output ends beyond a row of ``width``, a known one."""
        return isinstance(width, int) and width % self.step == 0


def fold_of(spec: ConvSpec, kernel: tuple[int, ...]) -> Fold | None:
    """The fold of a convolution with this kernel's shape, where it pays; it asks no image."""
    foldable = spec.strides[-1] == spec.kernel_dilation[-1] == spec.feature_group_count == 1
    if spec.input_dilation[-1] == 1 or not foldable or spec.padding == "SAME":
        return None
    fold, outputs = Fold(spec, kernel[-3]), kernel[-1]
    work = fold.width * math.ceil(outputs / _LANES)
    folded = fold.taps * math.ceil(fold.step * outputs / _LANES)
    return fold if folded * _GAIN <= work else None
