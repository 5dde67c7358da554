"""Layer norms and RMS norms over the last axis, however they are written: each becomes one call."""

import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import Any

import jax.numpy as jnp

from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.symbolic import algebra
from resfuse.fusion.symbolic.formulas import Affine, Formulas
from resfuse.fusion.symbolic.frames import PerPixel
from resfuse.purpose import Purpose

__all__ = ["LayerNorm", "find"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerNorm:
    """Equations that are one layer norm of ``x``.

    Attributes:
        x: the images, ``(B, ..., C)``.
        nodes: the equations, in order; nothing else needs what they compute, but for the result.
        affine: what it is.
        inputs: what its scale and bias are computed from, by their variables.
    """

    x: Value
    nodes: Sequence[Node]
    affine: Affine
    inputs: dict[int, Value]

    @property
    def result(self) -> Value:
        """The last equation's."""
        return self.nodes[-1].outputs[0]

    @property
    def in_place(self) -> bool:
        """Whether nothing else reads ``x``."""
        return self.x.producer is not None and {*self.x.users} <= {*self.nodes}

    @property
    def images(self) -> Sequence[Value]:
        """The images that the call reads, as a chain has them."""
        return [self.x]

    @property
    def operands(self) -> Sequence[Any]:
        """None that are like images."""
        return ()

    @property
    def results(self) -> Sequence[tuple[Value, Layout]]:
        """As a chain's."""
        shape = self.x.aval.shape
        return [(self.result, Layout(shape, len(shape) - 1))]

    @property
    def outputs(self) -> list[Value]:
        """As a chain's."""
        return [self.result]

    @property
    def reads(self) -> list[Value]:
        """As a chain's."""
        return [self.x, *self.inputs.values()]

    def reads_for(self, purpose: Purpose) -> list[Value]:
        """As a chain's."""
        del purpose
        return self.reads


def find(graph: Graph) -> list[LayerNorm]:
    """Those of the graph and of the bodies in it."""
    claimed: set[Node] = set()
    found = []
    for node in graph.walk():
        starts = _starts(node) if node not in claimed else ()
        norms = (_longest(start, node.scope, claimed) for start in starts)
        norm = next(filter(None, norms), None)
        if norm is not None:
            found.append(norm)
            claimed.update(norm.nodes)
    return found


def _starts(node: Node) -> Iterator[Value]:
    """What the sum over channels that the node may be is the mean of: values or their squares."""
    if node.name != "reduce_sum" or not _is_possible(node.inputs[0]):
        return
    x = node.inputs[0]
    if tuple(node.params["axes"]) != (x.aval.ndim - 1,):
        return
    yield x
    squared = x.producer
    if squared is not None and squared.name in ("square", "integer_pow", "mul"):
        yield squared.inputs[0]


def _is_possible(x: Value) -> bool:
    """Whether the kernel may take these images; sharded ones only by the batch."""
    aval = x.aval
    if aval.dtype != jnp.float32 or aval.ndim < 2 or mesh_axes(aval, range(1, aval.ndim)):
        return False
    return all(isinstance(size, int) for size in aval.shape) and 0 not in aval.shape[1:]


def _longest(x: Value, scope: Graph, claimed: Set[Node]) -> LayerNorm | None:
    """The norm of these images that has the most equations."""
    formulas = Formulas(x, PerPixel(x.aval.shape, x.aval.shape))
    if formulas.averaged < 2:
        return None
    _grow(formulas, x, scope, claimed)
    for value in reversed(list(formulas.forms)):
        affine = formulas.affine(formulas.forms[value]) if value is not x else None
        nodes = _between(formulas, value) if affine is not None else []
        if affine is not None and _is_alone(nodes):
            return LayerNorm(x, nodes, affine, affine.inputs(formulas))
    return None


def _grow(formulas: Formulas, x: Value, scope: Graph, claimed: Set[Node]) -> None:
    """Adds the forms of what follows from the images."""
    nodes = scope.nodes
    waiting = _readers(x, scope)
    first = 0 if x.producer is None or x.producer.scope is not scope else nodes.index(x.producer)
    for node in nodes[first:]:
        if not waiting:
            return
        if node in waiting:
            waiting.remove(node)
            if node not in claimed:
                algebra.add(node, formulas)
            if node.outputs and node.outputs[0] in formulas.forms:
                waiting |= _readers(node.outputs[0], scope)


def _readers(value: Value, scope: Graph) -> set[Node]:
    return {node for node in value.users if node is not None and node.scope is scope}


def _between(formulas: Formulas, result: Value) -> list[Node]:
    """The equations by which the result follows from the images, in order."""
    forms = list(formulas.forms)
    needed = {result}
    for value in reversed(forms[1:]):
        if value in needed and value.producer is not None:
            needed.update(value.producer.inputs)
    return [value.producer for value in forms[1:] if value in needed and value.producer is not None]


def _is_alone(nodes: Sequence[Node]) -> bool:
    """Whether nothing but the last one's result is needed elsewhere."""
    inside = {*nodes}
    return all(inside.issuperset(node.outputs[0].users) for node in nodes[:-1])
