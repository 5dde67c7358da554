"""The weight gradient of few output channels, with input and output exchanged.

The kernel's gradient is that of the mirrored convolution, which takes the output's gradient to the
input's, transposed and flipped:

    d_kernel[i, c, o] = sum over y of  x[y - pad + i d, c] * d_y[y, o]
                      = sum over z of  d_y[z + pad - i d, o] * x[z, c]

On the right the columns of the result are the input channels. They fill the vectors where those of
a layer to three channels leave most lanes empty, and zeros between the image's pixels become a
stride.
"""

import dataclasses

from resfuse.kernel.fold import GAIN, LANES
from resfuse.spec import ConvSpec, dilated

__all__ = ["exchanged"]

Sizes = tuple[int, ...]


def exchanged(spec: ConvSpec, x: Sizes, d_y: Sizes, window: Sizes) -> ConvSpec | None:
    """The convolution that takes ``d_y`` to ``x``, where its weight gradient costs less.

    Args:
        spec: the convolution.
        x: its input's shape.
        d_y: its output's shape.
        window: the kernel's size.

    Returns:
        None where exchanging does not pay, or is not possible with a stride, groups or sizes that
        are not known.
    """
    if {*spec.strides} != {1} or spec.feature_group_count > 1 or spec.padding == "SAME":
        return None
    if not all(isinstance(size, int) for size in (*x[1:], *d_y[1:])):
        return None
    # From a panel of output channels on, Winograd's algorithm may take it as it is.
    pays = d_y[-1] < 2 * LANES and _filled(x) > GAIN * _filled(d_y)
    return _mirrored(spec, x, d_y, window) if pays else None


def _filled(shape: Sizes) -> float:
    """Which part of its vectors the channels fill."""
    return shape[-1] / (-(-shape[-1] // LANES) * LANES)


def _mirrored(spec: ConvSpec, x: Sizes, d_y: Sizes, window: Sizes) -> ConvSpec:
    spans = map(dilated, window, spec.kernel_dilation)
    steps = zip(x[1:-1], spec.input_dilation, d_y[1:-1], strict=True)
    rooms = [(size - 1) * step + 1 - given for size, step, given in steps]
    pads = tuple(
        (span - 1 - before, room + before)
        for span, room, before in zip(spans, rooms, spec.pixels[::2], strict=True)
    )
    return dataclasses.replace(
        spec, strides=spec.input_dilation, input_dilation=spec.strides, padding=pads
    )
