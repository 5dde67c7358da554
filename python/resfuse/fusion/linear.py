"""The equations that the kernel computes: convolutions, and dense layers, which are such too."""

from resfuse.fusion import dense, geometry
from resfuse.fusion.geometry import Geometry
from resfuse.fusion.graph import Graph, Node, Value

__all__ = ["images_of", "is_linear", "reason_against", "supported"]


def is_linear(node: Node) -> bool:
    """Whether the node is one of them."""
    return node.name == "conv_general_dilated" or dense.is_dense(node)


def reason_against(node: Node) -> str | None:
    """Why the kernel does not compute it; None if it does."""
    return dense.reason_against(node) if dense.is_dense(node) else geometry.reason_against(node)


def supported(graph: Graph) -> dict[Node, Geometry]:
    """Those of the graph, and of the bodies in it, that the kernel computes, and what they are."""
    return {
        node: dense.geometry_of(node) if dense.is_dense(node) else geometry.geometry_of(node)
        for node in graph.walk()
        if is_linear(node) and reason_against(node) is None
    }


def images_of(node: Node) -> Value:
    """The images that it reads."""
    return node.inputs[dense.images_at(node) or 0]
