"""Max pooling on the kernel, over any two axes that are next to each other."""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from resfuse.fusion.graph import Node
from resfuse.fusion.layout import mesh_axes
from resfuse.kernel.pool import MAX_EXTENT, max_pool

__all__ = ["pools_images", "run", "takes"]


def takes(node: Node) -> bool:
    """Whether the kernel computes this equation."""
    if node.name != "reduce_window_max" or node.outputs[0].aval.dtype != jnp.float32:
        return False
    params, aval = node.params, node.inputs[0].aval
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    pads = [pad for pair in params["padding"] for pad in pair]
    sizes = [*params["window_dimensions"], *params["window_strides"], *pads]
    counted = min(pads, default=0) >= 0 and max(sizes, default=1) <= MAX_EXTENT
    whole = all(isinstance(size, int) for size in aval.shape) and aval.size > 0
    elsewhere = mesh_axes(aval) - mesh_axes(aval, range(min(aval.ndim, 1)))
    taken = whole and counted and not dilated and not elsewhere
    return taken and _height_axis(node) is not None


def pools_images(node: Node) -> bool:
    """Whether it pools height and width of ``(B, H, W, C)``, each image by itself."""
    return node.inputs[0].aval.ndim == 4 and _height_axis(node) == 1


def run(node: Node, x: Any) -> Any:
    """The equation's result."""
    axis = _height_axis(node)
    assert axis is not None  # takes(node)
    window, strides, padding = (
        tuple(node.params[name][axis : axis + 2])
        for name in ("window_dimensions", "window_strides", "padding")
    )
    before, pixels, after = x.shape[:axis], x.shape[axis : axis + 2], x.shape[axis + 2 :]
    if math.prod(after) > 1 or not before:
        y = x.reshape(math.prod(before), *pixels, math.prod(after))
        y = max_pool(y, window, strides, padding)
        pooled = y.shape[1:3]
    else:  # channels come first
        y = x.reshape(math.prod(before[:-1]), before[-1], *pixels)
        y = max_pool(lax.transpose(y, (0, 2, 3, 1)), window, strides, padding)
        y = lax.transpose(y, (0, 3, 1, 2))
        pooled = y.shape[2:]
    return y.reshape(*before, *pooled, *after)


def _height_axis(node: Node) -> int | None:
    """The first of the two axes; None if there are others, or none."""
    params = node.params
    settings = zip(
        params["window_dimensions"], params["window_strides"], params["padding"], strict=True
    )
    pooled = [axis for axis, setting in enumerate(settings) if setting != (1, 1, (0, 0))]
    rank = len(params["window_dimensions"])
    if not pooled or rank < 2 or max(pooled) - min(pooled) > 1:
        return None
    return min(min(pooled), rank - 2)
