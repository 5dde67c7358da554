"""Is a function with a derivative rule of its own ``jax.nn.relu``, by whatever name?"""

from typing import Any

import jax

from resfuse import jax_compat
from resfuse.fusion.graph import Graph, Node, Value, build, is_literal

__all__ = ["is_maximum_with_zero", "is_relu"]


def is_maximum_with_zero(node: Node, x: Value) -> bool:
    """Whether the node computes ``max(x, 0)``."""
    if node.name != "max":
        return False
    left, right = node.inputs
    return (left is x and is_literal(right, 0.0)) or (right is x and is_literal(left, 0.0))


def is_relu(node: Node) -> bool:
    """Whether a ``custom_jvp`` has value and derivative of ``jax.nn.relu``.

    The derivative counts: that of ``max(x, 0)`` is a half at 0, where ReLU's is 0.
    """
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    value = build(jax_compat.differentiable(node.params))
    last = value.outputs[0].producer
    if last is None or not is_maximum_with_zero(last, value.inputs[0]):
        return False
    return _passes_positive(_derivative(node))


def _derivative(node: Node) -> Graph:
    aval = node.inputs[0].aval
    x = jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=aval.sharding)

    def derivative(x: Any, tangent: Any) -> Any:
        return jax.jvp(lambda x: node.run([x])[0], (x,), (tangent,))[1]

    return build(jax.make_jaxpr(derivative)(x, x))


def _passes_positive(graph: Graph) -> bool:
    """Whether the graph is ``(x, t) -> where(x > 0, t, 0)``."""
    (x, tangent), choice = graph.inputs, graph.outputs[0].producer
    if choice is None or choice.name != "select_n":
        return False
    condition, otherwise, chosen = choice.inputs
    test = condition.producer
    return (
        test is not None
        and test.name == "gt"
        and test.inputs[0] is x
        and is_literal(test.inputs[1], 0.0)
        and is_literal(otherwise, 0.0)
        and chosen is tangent
    )
