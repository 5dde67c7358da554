"""The equations that the kernel computes: convolutions, and dense layers, which are such too."""

from resfuse.fusion import dense, geometry
from resfuse.fusion.geometry import Geometry
from resfuse.fusion.graph import Node, Value

__all__ = ["geometry_of", "images_of", "is_linear", "reason_against"]


def is_linear(node: Node) -> bool:
    """Whether the node is one of them."""
    return node.name == "conv_general_dilated" or dense.is_dense(node)


def geometry_of(node: Node) -> Geometry:
    """What it is for the kernel, whether that takes it or not."""
    return dense.geometry_of(node) if dense.is_dense(node) else geometry.geometry_of(node)


def reason_against(node: Node) -> str | None:
    """Why the kernel does not compute it; None if it does."""
    return dense.reason_against(node) if dense.is_dense(node) else geometry.reason_against(node)


def images_of(node: Node) -> Value:
    """The images that it reads."""
    return node.inputs[dense.images_at(node) or 0]
