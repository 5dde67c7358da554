"""Equations that change nothing but where the numbers of a result lie."""

from collections.abc import Callable

import jax.numpy as jnp

from resfuse.fusion.graph import Node
from resfuse.fusion.layout import Layout

__all__ = ["is_move", "moved"]


def is_move(node: Node) -> bool:
    """Whether the node only moves axes of float32, or nothing at all."""
    types = {value.aval.dtype for value in (*node.inputs[:1], *node.outputs[:1])}
    return node.name in _RULES and types == {jnp.dtype(jnp.float32)}


def moved(layout: Layout, node: Node) -> Layout | None:
    """The layout of the node's output if its input has ``layout``; None if channels break up."""
    return _RULES[node.name](layout, node)


def _reshape(layout: Layout, node: Node) -> Layout | None:
    if node.params["dimensions"] is not None or node.params["sharding"] is not None:
        return None
    return layout.reshaped(node.outputs[0].aval.shape)


def _squeeze(layout: Layout, node: Node) -> Layout | None:
    return layout.reshaped(node.outputs[0].aval.shape)


def _transpose(layout: Layout, node: Node) -> Layout:
    return layout.transposed(tuple(map(int, node.params["permutation"])))


def _broadcast(layout: Layout, node: Node) -> Layout | None:
    """Goes on if only axes of size 1 are added; JAX keeps the order of the others."""
    aval = node.outputs[0].aval
    same_size = aval.size == node.inputs[0].aval.size
    plain = len(node.inputs) == 1 and node.params["sharding"] is None
    return layout.reshaped(aval.shape) if same_size and plain else None


def _convert(layout: Layout, node: Node) -> Layout:
    del node
    return layout


_RULES: dict[str, Callable[[Layout, Node], Layout | None]] = {
    "reshape": _reshape,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "convert_element_type": _convert,
}
