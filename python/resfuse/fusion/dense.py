"""Dense layers: a matrix on the last axis of images is a convolution whose windows are one pixel.

    y[..., d] = sum over c of x[..., c] w[c, d]

JAX has one equation for them, ``dot_general``, in which either operand may be the weights, and
either of their axes be summed over: ``x @ w``, ``einsum``, and ``w @ x`` under ``vmap``.
"""

import math
from collections.abc import Sequence

from resfuse.fusion.geometry import Geometry, precision_of, reason_against_arrays
from resfuse.fusion.graph import Node
from resfuse.fusion.layout import Layout, Shape
from resfuse.spec import ConvSpec

__all__ = ["geometry_of", "images_at", "is_dense", "reason_against"]

_MAX_DIMENSIONS = 3  # the kernel's; of more axes in between, the last are one

# For fewer pixels the weights' way through memory is all the time, and packing them doubles it.
_LEAST_TO_PACK = 8


def is_dense(node: Node) -> bool:
    """Whether it multiplies the last axis of an array by one matrix."""
    return images_at(node) is not None


def images_at(node: Node) -> int | None:
    """Which operand are images times a matrix; of two matrices, that beside known weights.

    None if the equation is no dense layer.
    """
    if node.name != "dot_general":
        return None
    contracted, (batch, _) = node.params["dimension_numbers"]
    ranks = [value.aval.ndim for value in node.inputs]
    possible = [
        images
        for images in (0, 1)
        if tuple(contracted[images]) == (ranks[images] - 1,) and ranks[1 - images] == 2
    ]
    possible = [images for images in possible if ranks[images] > 1 and not batch]
    return max(possible, key=lambda images: node.inputs[1 - images].known, default=None)


def geometry_of(node: Node) -> Geometry:
    """The dense layer as a convolution."""
    images = images_at(node)
    assert images is not None
    x, weights = (node.inputs[each].aval.shape for each in (images, 1 - images))
    (axis,) = _contracted(node)[1 - images]
    channels, outputs = weights[axis], weights[1 - axis]
    ones = (1,) * min(max(len(x) - 2, 1), _MAX_DIMENSIONS)
    kernel = _reshaped((*ones, channels, outputs), (channels, outputs))
    y = _reshaped((*_joined(x, len(ones)), outputs), (*x[:-1], outputs))
    return Geometry(
        ConvSpec(ones, ((0, 0),) * len(ones), ones, ones, 1, precision_of(node)),
        _reshaped((*_joined(x, len(ones)), channels), x),
        kernel if axis == 0 else kernel.transposed((1, 0)),
        y if images == 0 else y.transposed((len(x) - 1, *range(len(x) - 1))),
        operands=(images, 1 - images),
    )


def reason_against(node: Node) -> str | None:
    """Why the kernel does not compute this dense layer; None if it does."""
    images = images_at(node)
    assert images is not None
    x, weights = (node.inputs[each].aval for each in (images, 1 - images))
    packed = node.inputs[1 - images].known
    reason = reason_against_arrays(node, x, weights, (0,))
    if reason is not None:
        return reason
    if 0 in (*x.shape, *weights.shape):
        return "empty"
    few = not packed and math.prod(x.shape[:-1]) < _LEAST_TO_PACK
    return f"fewer than {_LEAST_TO_PACK} pixels, unknown weights" if few else None


def _contracted(node: Node) -> Sequence[Sequence[int]]:
    """The axes of each operand that are summed over."""
    contracted: Sequence[Sequence[int]] = node.params["dimension_numbers"][0]
    return contracted


def _joined(x: Shape, dimensions: int) -> Shape:
    """The batch, and the pixels in so many dimensions."""
    batch, *pixels = x[:-1]
    pixels = [*pixels[: dimensions - 1], math.prod(pixels[dimensions - 1 :])]
    return batch, *pixels


def _reshaped(last: Shape, shape: Shape) -> Layout:
    layout = Layout(last, len(last) - 1).reshaped(shape)
    assert layout is not None  # the channels stay the last
    return layout
