"""Equations that change nothing but where the numbers of a result lie."""

import jax.numpy as jnp

from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout, Shape, inverse

__all__ = ["before", "is_move", "moved", "unmoved"]

_NAMES = ("reshape", "squeeze", "broadcast_in_dim", "transpose", "convert_element_type")


def is_move(node: Node) -> bool:
    """Whether the node only moves axes of float32, or nothing at all."""
    types = {value.aval.dtype for value in (*node.inputs[:1], *node.outputs[:1])}
    return node.name in _NAMES and types == {jnp.dtype(jnp.float32)}


def moved(layout: Layout, node: Node) -> Layout | None:
    """The layout of the node's output if its input has ``layout``; None if channels break up."""
    if node.name == "transpose":
        return layout.transposed(_order(node))
    return layout.reshaped(node.outputs[0].aval.shape) if _reshapes(node) else None


def before(layout: Layout, node: Node) -> Layout | None:
    """The layout of the node's input if its output has ``layout``; None if channels break up."""
    if node.name == "transpose":
        return layout.transposed(inverse(_order(node)))
    return layout.reshaped(node.inputs[0].aval.shape) if _reshapes(node) else None


def unmoved(value: Value) -> Value:
    """The value before the reshapes that lead to this one, as far as nobody else reads it."""
    node = value.producer
    while node is not None and is_move(node) and _reshapes(node):
        if len(node.inputs[0].users) > 1:
            break
        value = node.inputs[0]
        node = value.producer
    return value


def _order(node: Node) -> Shape:
    return tuple(map(int, node.params["permutation"]))


def _reshapes(node: Node) -> bool:
    """Whether elements stay in order: a broadcast's do if it only adds axes of size 1."""
    same_size = node.inputs[0].aval.size == node.outputs[0].aval.size
    plain = node.params.get("sharding") is None and node.params.get("dimensions") is None
    return same_size and (node.name == "squeeze" or (len(node.inputs) == 1 and plain))
