"""Explicit padding before a convolution, which the convolution does by itself.

A ``lax.pad`` with zeros makes images larger, in memory, only for the next convolution to read them;
it may also crop them, or put zeros between pixels. All of this a convolution's own padding and
dilation of the images say as well, whatever else reads the padded images.
"""

import dataclasses

import jax.numpy as jnp

from resfuse.fusion.geometry import Geometry
from resfuse.fusion.graph import Node, Value, is_literal
from resfuse.fusion.linear import images_of
from resfuse.fusion.moves import before, is_move
from resfuse.kernel.conv import unsupported
from resfuse.spec import ConvSpec

__all__ = ["unpadded"]


def unpadded(conv: Node, geometry: Geometry) -> tuple[Value, Geometry]:
    """The images before the padding in front of a convolution, and the convolution of those."""
    value = images_of(conv)
    found = value, geometry
    while (node := value.producer) is not None and node.scope is conv.scope:
        earlier = _without(node, geometry) if node.name == "pad" else _before(node, geometry)
        if earlier is None:
            break
        value, geometry = node.inputs[0], earlier
        if node.name == "pad":
            found = value, geometry
    return found


def _before(node: Node, geometry: Geometry) -> Geometry | None:
    """The convolution before a node that only moves axes of the images."""
    layout = before(geometry.images, node) if is_move(node) else None
    return None if layout is None else dataclasses.replace(geometry, images=layout)


def _without(pad: Node, geometry: Geometry) -> Geometry | None:
    """The convolution of what is padded; None if there is none."""
    images, number = pad.inputs
    if not is_literal(number, 0.0) or 0 in (*images.aval.shape, *pad.outputs[0].aval.shape):
        return None
    layout = geometry.images
    spatial = [axis for axis in range(1, len(layout.start) - 1) if layout.start[axis] > 1]
    axes = {layout.place(axis): axis for axis in spatial}
    for place, config in enumerate(pad.params["padding_config"]):
        if tuple(config) == (0, 0, 0):
            continue
        joined = place in axes and _joined(geometry.spec, axes[place] - 1, config)
        if not joined:
            return None
        layout = geometry.images.resized(axes[place], images.aval.shape[place])
        geometry = dataclasses.replace(geometry, spec=joined, images=layout)
    reason = unsupported(geometry.images_shape, geometry.kernel.start, jnp.float32, geometry.spec)
    return geometry if reason is None else None


def _joined(spec: ConvSpec, dimension: int, config: tuple[int, int, int]) -> ConvSpec | None:
    """The spec with ``lax.pad``'s low, high and interior padding as well, along a dimension.

    With an image dilation ``b`` a zero in front becomes ``b``. What is cropped must not be padded
    with zeros again, for there a convolution would see the pixels.
    """
    assert spec.padding != "SAME"  # equations have numbers
    (first, last), dilation = spec.padding[dimension], spec.input_dilation[dimension]
    low, high, interior = config
    if low < 0 < first or high < 0 < last:
        return None
    pads = first + low * dilation, last + high * dilation
    padding = (*spec.padding[:dimension], pads, *spec.padding[dimension + 1 :])
    dilations = list(spec.input_dilation)
    dilations[dimension] *= interior + 1
    return dataclasses.replace(spec, padding=padding, input_dilation=tuple(dilations))
