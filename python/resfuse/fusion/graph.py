"""A jaxpr as values and nodes: calls are seen through, bodies of control flow are graphs inside.

A body reads the values around it that do not change while it runs (constants of a loop, operands
of a branch) directly, as a closure does. So what is known outside is known inside.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from resfuse.fusion import bodies
from resfuse.fusion.equations import convolutions_within, seen_through

__all__ = ["Graph", "Node", "Value", "build", "is_literal"]

_NOTHING = object()


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Value:
    """An array: computed by ``producer``, or closed over, or an input."""

    aval: Any
    producer: "Node | None" = None
    array: Any = _NOTHING
    users: "list[Node | None]" = dataclasses.field(default_factory=list)  # None: a graph's output

    @property
    def given(self) -> bool:
        """Whether ``array`` is there, if only as a tracer."""
        return self.array is not _NOTHING

    @property
    def is_constant(self) -> bool:
        """Whether ``array`` is there with its numbers."""
        return self.given and not isinstance(self.array, jax.core.Tracer)

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
        """Of the primitive."""
        return str(self.eqn.primitive.name)

    @property
    def params(self) -> dict[str, Any]:
        """Of the equation."""
        return self.eqn.params

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """The equation itself, in its context, on ``operands``."""
        primitive = self.eqn.primitive
        with self.eqn.ctx.manager:
            outputs = primitive.bind(*operands, **primitive.get_bind_params(self.params))
        return list(outputs) if primitive.multiple_results else [outputs]


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class Graph:
    """A function: ``inputs`` are what its caller passes, in order."""

    inputs: list[Value]
    constants: list[Value] = dataclasses.field(default_factory=list)
    nodes: list[Node] = dataclasses.field(default_factory=list)
    outputs: list[Value] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Its nodes and those of the bodies inside."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.walk()


def is_literal(value: Value, number: float) -> bool:
    """Whether ``value`` is that scalar, or a broadcast of it."""
    if value.is_constant:
        return value.aval.shape == () and bool(value.array == number)
    node = value.producer
    through = ("broadcast_in_dim", "convert_element_type", "reshape")
    return node is not None and node.name in through and is_literal(node.inputs[0], number)


def build(jaxpr: ClosedJaxpr) -> Graph:
    """The graph of ``jaxpr``, without dead code, with the users of every value."""
    inputs = [None] * len(jaxpr.jaxpr.invars)
    graph = _graph(jaxpr.jaxpr, _constants(jaxpr.consts), inputs)
    _drop_dead(graph)
    _count(graph)
    return graph


def _graph(jaxpr: Jaxpr, constants: Sequence[Value], inputs: Sequence[Value | None]) -> Graph:
    """``inputs`` holds a value of the caller's for what the body reads directly."""
    values = [
        Value(var.aval) if value is None else value
        for var, value in zip(jaxpr.invars, inputs, strict=True)
    ]
    graph = Graph(list(values), list(constants))
    graph.outputs = _inline(graph, jaxpr, constants, values)
    return graph


def _constants(arrays: Sequence[Any]) -> list[Value]:
    return [Value(jax.typeof(array), array=array) for array in arrays]


def _inline(
    graph: Graph, jaxpr: Jaxpr, constants: Sequence[Value], arguments: Sequence[Value]
) -> list[Value]:
    variables = [*jaxpr.constvars, *jaxpr.invars]
    env: dict[Any, Value] = dict(zip(variables, [*constants, *arguments], strict=True))

    def read(atom: Any) -> Value:
        return Value(atom.aval, array=atom.val) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        inner = seen_through(eqn)
        if inner is not None:
            inputs = inputs[-len(inner.in_avals) :] if inner.in_avals else []
            outputs = _inline(graph, inner.jaxpr, _constants(inner.consts), inputs)
        else:
            outputs = _node(graph, eqn, inputs).outputs
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _node(graph: Graph, eqn: JaxprEqn, inputs: list[Value]) -> Node:
    node = Node(eqn, inputs, graph)
    node.outputs = [Value(var.aval, node) for var in eqn.outvars]
    node.known = not eqn.effects and all(value.known for value in inputs)
    if any(True for _ in convolutions_within(eqn)):
        node.bodies = [
            _graph(body.jaxpr, _constants(body.constants), body.bind(inputs))
            for body in bodies.of(eqn)
        ]
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
