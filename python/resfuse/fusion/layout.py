"""Where the axes of a tensor are, and how to bring it to the kernel's layout and back."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion.graph import Node
from resfuse.kernel.conv import unsupported
from resfuse.spec import ConvSpec

__all__ = [
    "Layout",
    "images_order",
    "kernel_order",
    "layout_of",
    "mesh_axes",
    "reason_against",
    "spec_of",
]

Shape = tuple[int, ...]
_NHWC, _HWIO = (0, 2, 3, 1), (2, 3, 1, 0)  # places in a ConvDimensionNumbers


def images_order(node: Node) -> Shape:
    """The permutation that brings the convolution's images to NHWC."""
    return tuple(node.params["dimension_numbers"].lhs_spec[axis] for axis in _NHWC)


def kernel_order(node: Node) -> Shape:
    """The permutation that brings the convolution's kernel to HWIO."""
    return tuple(node.params["dimension_numbers"].rhs_spec[axis] for axis in _HWIO)


def spec_of(node: Node) -> ConvSpec:
    """What the convolution asks for."""
    params = node.params
    precision = params["precision"]
    if isinstance(precision, tuple):
        precision = max(precision, key=_rank)
    pads = tuple((int(low), int(high)) for low, high in params["padding"])
    strides, of_image, of_window = (
        tuple(map(int, params[name])) for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    groups = params["feature_group_count"]
    return ConvSpec(strides, pads, of_image, of_window, groups, precision)


def _rank(precision: lax.Precision | None) -> int:
    order = (None, lax.Precision.DEFAULT, lax.Precision.HIGH, lax.Precision.HIGHEST)
    return order.index(precision)


def reason_against(node: Node) -> str | None:
    """Why the kernel cannot compute this convolution; None if it can."""
    x, kernel = (value.aval for value in node.inputs)
    params, out = node.params, node.outputs[0].aval
    if x.ndim != 4:
        return f"{x.ndim - 2} spatial dimensions"
    if not {x.dtype, kernel.dtype, out.dtype} <= {jnp.dtype(jnp.float32)}:
        return " and ".join(sorted({str(a.dtype) for a in (x, kernel, out)} - {"float32"}))
    if not all(isinstance(size, int) for size in (*x.shape, *kernel.shape)):
        return "symbolic shape"
    if {*params["lhs_dilation"], *params["rhs_dilation"]} != {1}:
        return "dilation"
    if params["batch_group_count"] != 1:
        return "batch groups"
    if isinstance(params["precision"], str | lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return f"precision {params['precision']}"
    if min(map(min, params["padding"])) < 0:
        return "negative padding"
    if mesh_axes(kernel) or mesh_axes(x) - mesh_axes(x, images_order(node)[:1]):
        return "sharded over other axes than the batch"
    images = tuple(x.shape[axis] for axis in images_order(node))
    weights = tuple(kernel.shape[axis] for axis in kernel_order(node))
    return unsupported(images, weights, jnp.float32, spec_of(node))


def mesh_axes(aval: Any, axes: Sequence[int] | None = None) -> set[str]:
    """The axes of the mesh over which those ``axes`` of the type are sharded; all by default.

    Types say so on Explicit meshes only. On others XLA brings arrays to where a call needs them.
    """
    spec = [*aval.sharding.spec, *[None] * aval.ndim][: aval.ndim]
    chosen = [spec[axis] for axis in (range(aval.ndim) if axes is None else axes)]
    names = [name for entry in chosen for name in (entry if isinstance(entry, tuple) else (entry,))]
    return {name for name in names if isinstance(name, str)}


@dataclasses.dataclass(frozen=True)
class Layout:
    """What became of an NHWC tensor: its shape, where its channels are, and the way there.

    ``moves`` are permutations and shapes in turn: ``("transpose", order)``, ``("reshape", shape)``,
    each with the shape before it.
    """

    shape: Shape
    channels: int
    moves: tuple[tuple[str, Shape, Shape], ...] = ()

    def apply(self, y: Array) -> Array:
        """Brings a tensor from NHWC to this layout."""
        for kind, arguments, _ in self.moves:
            y = lax.transpose(y, arguments) if kind == "transpose" else y.reshape(arguments)
        return y

    def undo(self, y: Array) -> Array:
        """Brings a tensor from this layout to NHWC."""
        for kind, arguments, before in reversed(self.moves):
            back = _inverse(arguments) if kind == "transpose" else before
            y = lax.transpose(y, back) if kind == "transpose" else y.reshape(back)
        return y

    def transposed(self, order: Shape) -> "Layout":
        """The layout after a transposition."""
        if order == tuple(range(len(order))):
            return self
        shape = tuple(self.shape[axis] for axis in order)
        move = ("transpose", order, self.shape)
        return Layout(shape, order.index(self.channels), (*self.moves, move))

    def reshaped(self, shape: Shape) -> "Layout | None":
        """The layout after a reshape; None if that breaks up the channels."""
        axis = self._channels_in(shape)
        if axis is None:
            return None
        return Layout(shape, axis, (*self.moves, ("reshape", shape, self.shape)))

    def _channels_in(self, shape: Shape) -> int | None:
        before, size = math.prod(self.shape[: self.channels]), self.shape[self.channels]
        if 0 in shape:
            return None
        for axis, extent in enumerate(shape):
            if extent == size and math.prod(shape[:axis]) == before:
                return axis
        return None


def layout_of(node: Node) -> Layout:
    """The layout of a convolution's result."""
    out = node.params["dimension_numbers"].out_spec
    order = tuple(out[axis] for axis in _NHWC)
    shape = node.outputs[0].aval.shape
    return Layout(tuple(shape[axis] for axis in order), 3).transposed(_inverse(order))


def _inverse(order: Shape) -> Shape:
    return tuple(order.index(axis) for axis in range(len(order)))
