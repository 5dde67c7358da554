"""Pooling on the kernel, over up to three axes that are next to each other.

That is ``reduce_window`` of maxima and sums, the gradient of the former (of the latter it is a sum
itself), and the maximum or the sum over all of an image, where the window is the image.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from resfuse.fusion.graph import Graph, Node, Value, is_literal
from resfuse.fusion.layout import mesh_axes
from resfuse.kernel.pool import Operation, Pooling, cotangent, pool

__all__ = ["find", "pools_images", "run"]

_OPERATIONS: dict[str, Operation] = {
    "reduce_window_max": "max",
    "reduce_window_sum": "sum",
    "reduce_max": "max",
    "reduce_sum": "sum",
    "select_and_scatter_add": "max",
}

# XLA reduces images of more than 1024 pixels by `reduce_window`, at 7 GB/s. Others it takes at
# the speed of memory; but where no YNN fusion is made of that, its loop goes over the thread pool,
# whose threads the next calls then miss: EfficientNet-B0, on one image, takes 12.0 ms for 9.0.
_LEAST_GLOBAL_PIXELS = 32
_LEAST_CHANNELS = 4  # with fewer, most of a vector is not needed

_Setting = tuple[int, int, tuple[int, int], int]  # of an axis: size, stride, padding, dilation
_Settings = dict[int, _Setting]  # of the axes that are pooled


class _Pooled(NamedTuple):
    """Axes ``[first, last)``, and how; global ones are dropped."""

    first: int
    last: int
    pooling: Pooling
    is_global: bool
    is_gradient: bool

    def as_images(self, x: Any) -> Any:
        """``(B, ..., C)`` of an array whose pooled axes stand anywhere."""
        before, pixels, after = self._parts(x.shape)
        if _channels_lead(before, after):
            x = x.reshape(math.prod(before[:-1]), before[-1], *pixels)
            return jnp.moveaxis(x, 1, -1)
        return x.reshape(math.prod(before), *pixels, math.prod(after))

    def from_images(self, y: Any, shape: tuple[int, ...]) -> Any:
        """Back to where the axes stand in an array of that shape."""
        before, _, after = self._parts(shape)
        pixels = () if self.is_global else y.shape[1:-1]
        y = jnp.moveaxis(y, -1, 1) if _channels_lead(before, after) else y
        return y.reshape(*before, *pixels, *after)

    def channels(self, shape: tuple[int, ...]) -> int:
        """How many lie side by side in the kernel's images."""
        before, _, after = self._parts(shape)
        return before[-1] if _channels_lead(before, after) else math.prod(after)

    def _parts(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return shape[: self.first], shape[self.first : self.last], shape[self.last :]


def _channels_lead(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether an array has its channels in front of its pixels."""
    return math.prod(after) == 1 and len(before) > 0


def find(graph: Graph, fused: Collection[Value]) -> set[Node]:
    """The equations that the kernel computes, given what the chains that it computes put out."""
    return {node for node in graph.walk() if _takes(node, fused)}


def pools_images(node: Node) -> bool:
    """Whether it pools each image of ``(B, ..., C)`` by itself."""
    pooled = _pooled(node)
    return pooled is not None and pooled.first > 0 and not pooled.is_gradient


def is_sum(node: Node | None) -> bool:
    """Whether it adds up each channel of each image of ``(B, ..., C)``, over all pixels."""
    if node is None or node.name not in ("reduce_sum", "reduce_window_sum"):
        return False
    x, pooled = node.inputs[0].aval, _pooled(node)
    if pooled is None or (pooled.first, pooled.last) != (1, x.ndim - 1):
        return False
    return pooled.pooling.covers(x.shape[1:-1])


def run(node: Node, *operands: Any) -> Any:
    """The equation's result."""
    pooled = _pooled(node)
    assert pooled is not None  # find(graph)
    x = operands[-1]  # a gradient's cotangent comes before it
    if _is_of_ones(node):
        return _counts(x.shape, pooled.first, pooled.pooling)
    images = map(pooled.as_images, reversed(operands))
    y = (cotangent if pooled.is_gradient else pool)(pooled.pooling, *images)
    return pooled.from_images(y, x.shape)


def _takes(node: Node, fused: Collection[Value]) -> bool:
    if node.name not in _OPERATIONS or node.outputs[0].aval.dtype != jnp.float32:
        return False
    aval = node.inputs[-1].aval
    whole = all(isinstance(size, int) for size in aval.shape) and aval.size > 0
    elsewhere = mesh_axes(aval) - mesh_axes(aval, range(min(aval.ndim, 1)))
    pooled = _pooled(node) if whole and not elsewhere else None
    if pooled is None or not pooled.pooling.is_countable:
        return False
    if pooled.is_global:
        return _pays(node, pooled, fused)
    return pooled.channels(aval.shape) >= _LEAST_CHANNELS or _is_of_ones(node)


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
    is_global = "axes" in node.params
    settings = _global_settings(node) if is_global else _window_settings(node)
    if not settings or not len(settings) == max(settings) - min(settings) + 1 <= 3:
        return None
    pooling = Pooling(_OPERATIONS[node.name], *zip(*settings.values(), strict=True))
    is_gradient = "select_prim" in node.params
    return _Pooled(min(settings), max(settings) + 1, pooling, is_global, is_gradient)


def _global_settings(node: Node) -> _Settings:
    """None if the result has a sharding of its own."""
    if node.params.get("out_sharding") is not None:
        return {}
    shape = node.inputs[0].aval.shape
    return {axis: (shape[axis], 1, (0, 0), 1) for axis in sorted(node.params["axes"])}


def _window_settings(node: Node) -> _Settings:
    """None where the image is dilated, or where the gradient is not that of a maximum."""
    params, ones = node.params, (1,) * len(node.params["window_dimensions"])
    select = params.get("select_prim")
    if params.get("base_dilation", ones) != ones or (select and select.name != "ge"):
        return {}
    names = ("window_dimensions", "window_strides", "padding")
    dilation = params.get("window_dilation", ones)
    settings = enumerate(zip(*map(params.__getitem__, names), dilation, strict=True))
    return {axis: setting for axis, setting in settings if setting[:3] != (1, 1, (0, 0))}


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
