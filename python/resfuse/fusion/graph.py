"""A jaxpr as values and nodes: calls are seen through, bodies of control flow are graphs inside.

A body reads the values around it that do not change while it runs (constants of a loop, operands
of a branch) directly, as a closure does. So what is known outside is known inside.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray

from resfuse import jax_compat
from resfuse.fusion.equations import bodies_of, convolutions_within, seen_through
from resfuse.jax_compat import ClosedJaxpr, JaxprEqn, Literal

__all__ = ["Graph", "Node", "Value", "build", "is_literal"]

_NOTHING = object()


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Value:
    """An array: computed by ``producer``, closed over, or an input."""

    aval: Any
    producer: "Node | None" = None
    array: Any = _NOTHING
    users: "list[Node | None]" = dataclasses.field(default_factory=list)  # None: a graph's output

    @property
    def given(self) -> bool:
        """Whether ``array`` is set, if only to a tracer."""
        return self.array is not _NOTHING

    @property
    def is_constant(self) -> bool:
        """Whether ``array`` is set, and its numbers can be read here and stay as they are."""
        if isinstance(self.array, jax.core.Tracer) or not isinstance(self.aval, ShapedArray):
            return False
        return self.given and getattr(self.array, "is_fully_addressable", True)

    def readers(self, scope: "Graph") -> "set[Node]":
        """The nodes of that graph that read the value."""
        return {node for node in self.users if node is not None and node.scope is scope}

    @property
    def known(self) -> bool:
        """Whether it depends on nothing but constants."""
        return self.is_constant or (self.producer is not None and self.producer.known)


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Node:
    """An equation; ``bodies`` are the graphs of its functions if a convolution is inside them."""

    eqn: JaxprEqn
    inputs: list[Value]
    scope: "Graph"
    outputs: list[Value] = dataclasses.field(default_factory=list)
    bodies: "list[Graph]" = dataclasses.field(default_factory=list)
    known: bool = False

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return str(self.eqn.primitive.name)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the equation."""
        return self.eqn.params

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """The equation itself on ``operands``."""
        return jax_compat.run(self.eqn, operands)


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Graph:
    """A function: ``inputs`` are what its caller passes, in order.

    ``constants`` are what it closes over, and what the bodies and calls inside close over.
    """

    inputs: list[Value]
    constants: list[Value] = dataclasses.field(default_factory=list)
    nodes: list[Node] = dataclasses.field(default_factory=list)
    outputs: list[Value] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yields its nodes and those of the bodies inside."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.walk()


def is_literal(value: Value, number: float) -> bool:
    """Whether ``value`` is that scalar, or a broadcast of it."""
    if value.is_constant:
        return value.aval.shape == () and bool(np.asarray(value.array) == number)
    node = value.producer
    through = ("broadcast_in_dim", "convert_element_type", "reshape")
    return node is not None and node.name in through and is_literal(node.inputs[0], number)


def build(jaxpr: ClosedJaxpr) -> Graph:
    """The graph of ``jaxpr``, without dead code, with the users of every value."""
    builder = _Builder()
    graph = builder.graph(jaxpr, [None] * len(jaxpr.in_avals))
    graph.constants = list(builder.constants.values())
    _drop_dead(graph)
    _count(graph)
    return graph


class _Builder:
    """Builds a graph and those of its bodies; an array that they close over is one value."""

    def __init__(self) -> None:
        self.constants: dict[int, Value] = {}  # by the id of the array, which the value keeps alive

    def graph(self, jaxpr: ClosedJaxpr, inputs: Sequence[Value | None]) -> Graph:
        """``inputs`` holds a value of the caller's for what the body reads directly."""
        values = [
            Value(aval) if value is None else value
            for aval, value in zip(jaxpr.in_avals, inputs, strict=True)
        ]
        graph = Graph(list(values))
        graph.outputs = self._inline(graph, jaxpr, values)
        return graph

    def _inline(self, graph: Graph, closed: ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
        """Adds the equations to the graph; returns the results."""
        jaxpr = closed.jaxpr
        variables = [*jaxpr.constvars, *jaxpr.invars]
        values = [*map(self._constant, closed.consts), *arguments]
        env: dict[Any, Value] = dict(zip(variables, values, strict=True))

        def read(atom: Any) -> Value:
            return Value(atom.aval, array=atom.val) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            inner = seen_through(eqn)
            if inner is not None:
                outputs = self._inline(graph, inner, inputs)
            else:
                outputs = self._node(graph, eqn, inputs).outputs
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _constant(self, array: Any) -> Value:
        return self.constants.setdefault(id(array), Value(jax.typeof(array), array=array))

    def _node(self, graph: Graph, eqn: JaxprEqn, inputs: list[Value]) -> Node:
        node = Node(eqn, inputs, graph)
        node.outputs = [Value(var.aval, node) for var in eqn.outvars]
        node.known = not eqn.effects and all(value.known for value in inputs)
        if any(True for _ in convolutions_within(eqn)):
            node.bodies = [self.graph(body.jaxpr, body.bind(inputs)) for body in bodies_of(eqn)]
        graph.nodes.append(node)
        return node


def _drop_dead(graph: Graph) -> None:
    live = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node.eqn.effects or not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
    for node in kept:
        for body in node.bodies:
            _drop_dead(body)


def _count(graph: Graph) -> None:
    for node in graph.nodes:
        for value in node.inputs:
            value.users.append(node)
        for body in node.bodies:
            _count(body)
    for value in graph.outputs:
        value.users.append(None)
