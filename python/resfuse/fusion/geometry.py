"""A convolution's equation in the kernel's terms: its geometry, and where its arrays' axes go."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion.graph import Node
from resfuse.fusion.layout import Layout, inverse, mesh_axes
from resfuse.kernel.conv import unsupported
from resfuse.spec import ConvSpec

__all__ = ["Geometry", "geometry_of", "precision_of", "reason_against", "reason_against_arrays"]

Parts = tuple[tuple[int, ...], ...]  # axes that become one


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What the kernel computes for a convolution, in one to three spatial dimensions.

    ``images``, ``kernel`` and ``output`` are the layouts of the equation's arrays: how they come
    from the kernel's. With ``batch_groups``, group ``g`` of the output's channels is that part of
    the batch; the kernel has feature groups for it, with each part's channels in one image.
    ``operands`` says which of the equation's are images and kernel.
    """

    spec: ConvSpec
    images: Layout
    kernel: Layout
    output: Layout
    batch_groups: int = 1
    operands: tuple[int, int] = (0, 1)

    @property
    def images_shape(self) -> tuple[int, ...]:
        """That of the kernel's images."""
        batch, *pixels, channels = self.images.start
        return batch // self.batch_groups, *pixels, channels * self.batch_groups

    def images_from(self, x: Array) -> Array:
        """The kernel's images from the equation's."""
        x = self.images.undo(x)
        if self.batch_groups == 1:
            return x
        parts = x.reshape(self.batch_groups, -1, *x.shape[1:])  # (b, n, ..., c)
        return jnp.moveaxis(parts, 0, -2).reshape(self.images_shape)  # (n, ..., b * c)


def geometry_of(node: Node) -> Geometry:
    """The convolution as the equation has it, whether the kernel takes it or not."""
    x, kernel, out = (value.aval.shape for value in (*node.inputs, *node.outputs))
    lhs, rhs, of_out = node.params["dimension_numbers"]
    parts = _parts(node)
    window = [tuple(axis - 1 for axis in part) for part in parts[1:-1]]
    window[0] = tuple(range(window[0][-1] + 1))  # and those of size 1 that the batch has taken
    taps = len(rhs) - 2
    spec = _spec(node)
    return Geometry(
        _at(spec, [part[-1] for part in window]),
        _layout(x, (lhs[0], *lhs[2:], lhs[1]), parts),
        _layout(kernel, (*rhs[2:], rhs[1], rhs[0]), (*window, (taps,), (taps + 1,))),
        _layout(out, (of_out[0], *of_out[2:], of_out[1]), parts),
        int(node.params["batch_group_count"]),
    )


def reason_against(node: Node) -> str | None:
    """Why the kernel cannot compute this convolution; None if it can."""
    x, kernel = (value.aval for value in node.inputs)
    params = node.params
    batch = params["dimension_numbers"].lhs_spec[:1] if params["batch_group_count"] == 1 else ()
    reason = reason_against_arrays(node, x, kernel, batch)
    if reason is not None:
        return reason
    if x.ndim == 2:
        return "no spatial dimensions"
    geometry = geometry_of(node)
    if len(geometry.spec.strides) > 3:
        return f"{x.ndim - 2} spatial dimensions"
    return unsupported(geometry.images_shape, geometry.kernel.start, jnp.float32, geometry.spec)


def reason_against_arrays(node: Node, x: Any, kernel: Any, batch: Sequence[int]) -> str | None:
    """Why the kernel cannot compute an equation of such types.

    ``batch`` are the axes of ``x`` over which it may be sharded.
    """
    out, precision = node.outputs[0].aval, node.params["precision"]
    if not {x.dtype, kernel.dtype, out.dtype} <= {jnp.dtype(jnp.float32)}:
        return " and ".join(sorted({str(a.dtype) for a in (x, kernel, out)} - {"float32"}))
    if not all(isinstance(size, int) for size in (*x.shape, *kernel.shape)):
        return "symbolic shape"
    if isinstance(precision, str | lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return f"precision {precision}"
    if mesh_axes(kernel) or mesh_axes(x) - mesh_axes(x, batch):
        return "sharded over other axes than the batch"
    return None


def _spec(node: Node) -> ConvSpec:
    """What the equation asks for, with an entry for each of its spatial dimensions."""
    params = node.params
    pads = tuple((int(low), int(high)) for low, high in params["padding"])
    strides, of_image, of_window = (
        tuple(map(int, params[name])) for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    groups = params["feature_group_count"] * params["batch_group_count"]  # one of them is 1
    return ConvSpec(strides, pads, of_image, of_window, groups, precision_of(node))


def precision_of(node: Node) -> lax.Precision | None:
    """What the equation asks for, the higher of its operands' if it has one for each."""
    precision = node.params["precision"]
    return max(precision, key=_rank) if isinstance(precision, tuple) else precision


def _rank(precision: lax.Precision | None) -> int:
    order = (None, lax.Precision.DEFAULT, lax.Precision.HIGH, lax.Precision.HIGHEST)
    return order.index(precision)


def _at(spec: ConvSpec, dimensions: Sequence[int]) -> ConvSpec:
    """The spec of a convolution over these of its dimensions."""

    def chosen(each: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(each[dimension] for dimension in dimensions)

    return dataclasses.replace(
        spec,
        strides=chosen(spec.strides),
        padding=chosen(spec.padding),
        input_dilation=chosen(spec.input_dilation),
        kernel_dilation=chosen(spec.kernel_dilation),
    )


def _parts(node: Node) -> Parts:
    """Which axes of images with channels last the kernel takes as one.

    Along some dimensions each pixel is by itself, as if it were an image of its own: the first of
    them join the batch, others that follow each other are one. So a 1x3x3 window is a 3x3 one, and
    a 3x1x1 window has two dimensions.
    """
    x = node.inputs[0].aval
    dimensions = range(1, x.ndim - 1)
    if len(dimensions) < 3 or mesh_axes(x) or 0 in x.shape:
        return tuple((axis,) for axis in range(x.ndim))
    alone = [_is_pointwise(node, axis - 1) for axis in dimensions]
    if all(alone):
        return (0,), tuple(dimensions), (x.ndim - 1,)
    parts = [[0]]
    for axis in dimensions:
        if alone[axis - 1] and (parts[-1][-1] == 0 or alone[parts[-1][-1] - 1]):
            parts[-1].append(axis)
        else:
            parts.append([axis])
    return *map(tuple, parts), (x.ndim - 1,)


def _is_pointwise(node: Node, dimension: int) -> bool:
    params = node.params
    window = node.inputs[1].aval.shape[params["dimension_numbers"].rhs_spec[2 + dimension]]
    settings = (params[name][dimension] for name in ("window_strides", "lhs_dilation", "padding"))
    return (window, *settings) == (1, 1, 1, (0, 0))


@functools.lru_cache(maxsize=1024)
def _layout(shape: tuple[int, ...], order: tuple[int, ...], parts: Parts) -> Layout:
    """That of an array of this shape; ``order`` brings channels last, ``parts`` are then joined."""
    last = tuple(shape[axis] for axis in order)
    joined = tuple(math.prod(last[axis] for axis in part) for part in parts)
    layout = Layout(joined, len(joined) - 1).reshaped(last)
    assert layout is not None  # the channels stand alone
    return layout.transposed(inverse(order))
