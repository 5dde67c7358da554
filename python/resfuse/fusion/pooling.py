"""Pooling on the kernel, over up to three axes that are next to each other.

That is ``reduce_window`` of maxima and sums, and the maximum or the sum over all of an image, where
the window is the image.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from resfuse.fusion.graph import Graph, Node, Value, is_literal
from resfuse.fusion.layout import mesh_axes
from resfuse.kernel.pool import Operation, Pooling, pool

__all__ = ["find", "pools_images", "run"]

_OPERATIONS: dict[str, Operation] = {
    "reduce_window_max": "max",
    "reduce_window_sum": "sum",
    "reduce_max": "max",
    "reduce_sum": "sum",
}

# XLA takes images with fewer pixels at the speed of memory on one thread, together with what is
# elementwise before and after them; larger ones at 7 GB/s, for it reduces them by `reduce_window`.
_LEAST_GLOBAL_PIXELS = 1024
_LEAST_CHANNELS = 4  # with fewer, most of a vector is not needed


class _Pooled(NamedTuple):
    """Axes ``[first, last)``, and how; global ones are dropped."""

    first: int
    last: int
    pooling: Pooling
    is_global: bool


def find(graph: Graph, fused: Collection[Value]) -> set[Node]:
    """The equations that the kernel computes, given what the chains that it computes put out."""
    return {node for node in graph.walk() if _takes(node, fused)}


def pools_images(node: Node) -> bool:
    """Whether it pools each image of ``(B, ..., C)`` by itself."""
    pooled = _pooled(node)
    return pooled is not None and pooled.first > 0


def run(node: Node, x: Any) -> Any:
    """The equation's result."""
    pooled = _pooled(node)
    assert pooled is not None  # find(graph)
    first, last, pooling, is_global = pooled
    if _is_of_ones(node):
        return _counts(x.shape, first, pooling)
    before, pixels, after = x.shape[:first], x.shape[first:last], x.shape[last:]
    if math.prod(after) > 1 or not before:
        y = pool(pooling, x.reshape(math.prod(before), *pixels, math.prod(after)))
        sizes = y.shape[1:-1]
    else:  # channels come first
        y = x.reshape(math.prod(before[:-1]), before[-1], *pixels)
        y = jnp.moveaxis(pool(pooling, jnp.moveaxis(y, 1, -1)), -1, 1)
        sizes = y.shape[2:]
    return y.reshape(*before, *(() if is_global else sizes), *after)


def _takes(node: Node, fused: Collection[Value]) -> bool:
    if node.name not in _OPERATIONS or node.outputs[0].aval.dtype != jnp.float32:
        return False
    aval = node.inputs[0].aval
    whole = all(isinstance(size, int) for size in aval.shape) and aval.size > 0
    elsewhere = mesh_axes(aval) - mesh_axes(aval, range(min(aval.ndim, 1)))
    pooled = _pooled(node) if whole and not elsewhere else None
    if pooled is None or not pooled.pooling.is_countable:
        return False
    if pooled.is_global:
        return _pays(node, pooled, fused)
    return _channels(aval.shape, pooled) >= _LEAST_CHANNELS or _is_of_ones(node)


def _channels(shape: tuple[int, ...], pooled: _Pooled) -> int:
    """How many lie side by side when the kernel is called."""
    before, after = shape[: pooled.first], math.prod(shape[pooled.last :])
    return before[-1] if after == 1 and before else after


def _is_of_ones(node: Node) -> bool:
    """Whether it counts the pixels of each window, as averages over what is inside the image do."""
    return node.name == "reduce_window_sum" and is_literal(node.inputs[0], 1.0)


def _pays(node: Node, pooled: _Pooled, fused: Collection[Value]) -> bool:
    """Whether XLA would be slower at all of the image."""
    x = node.inputs[0]
    large = math.prod(pooled.pooling.window) >= _LEAST_GLOBAL_PIXELS
    columns = pooled.first > 0 and math.prod(x.aval.shape[pooled.last :]) > 1
    return large and columns and (x in fused or not _is_fused_by_xla(x))


def _is_fused_by_xla(x: Value) -> bool:
    """Whether XLA computes ``x`` inside of what reads it, so that it is never written."""
    return x.producer is not None and len(x.users) == 1


def _pooled(node: Node) -> _Pooled | None:
    """What the equation pools; None if that is not what the kernel can."""
    params, x = node.params, node.inputs[0].aval
    if "axes" in params:
        axes = sorted(params["axes"])
        settings = [(size, 1, (0, 0), 1) for size in x.shape]
        plain = params.get("out_sharding") is None
    else:
        names = ("window_dimensions", "window_strides", "padding", "window_dilation")
        settings = list(zip(*map(params.__getitem__, names), strict=True))
        axes = [axis for axis, setting in enumerate(settings) if not _is_nothing(*setting)]
        plain = {*params["base_dilation"]} == {1}
    if not plain or not axes or not len(axes) == axes[-1] - axes[0] + 1 <= 3:
        return None
    first, last = axes[0], axes[-1] + 1
    window, strides, padding, dilation = zip(*settings[first:last], strict=True)
    pooling = Pooling(_OPERATIONS[node.name], window, strides, padding, dilation)
    return _Pooled(first, last, pooling, "axes" in params)


def _is_nothing(size: int, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether a window of these settings along an axis leaves it as it is."""
    del dilation  # of a single tap
    return (size, stride, padding) == (1, 1, (0, 0))


def _counts(shape: tuple[int, ...], first: int, pooling: Pooling) -> Any:
    """The sums over windows of ones, the pixels of the image in each, as averages divide by.

    XLA computes them while it compiles, which may take seconds. They are the products of the counts
    along the axes.
    """
    axes = range(first, first + len(pooling.window))
    outputs = pooling.output_size([shape[axis] for axis in axes])
    counts = np.ones((), np.float32)
    for side, axis in enumerate(axes):
        counts = np.multiply.outer(counts, _taps_inside(shape[axis], outputs[side], pooling, side))
    sizes = (*shape[:first], *outputs, *shape[axes.stop :])
    return lax.broadcast_in_dim(jnp.asarray(counts), sizes, tuple(axes))


def _taps_inside(size: int, outputs: int, pooling: Pooling, side: int) -> Any:
    """How many of each window's taps along one side are inside the image."""
    starts = np.arange(outputs) * pooling.strides[side] - pooling.pixels[2 * side]
    window, step = pooling.window[side], pooling.window_dilation[side]
    # Tap i is at start + i * step: those from -start / step on, up to (size - start) / step.
    first, last = (np.clip(-((starts - end) // step), 0, window) for end in (0, size))
    return np.maximum(last - first, 0).astype(np.float32)
