"""The elementwise equations that follow from a value, as far as the kernel has them."""

import dataclasses
import functools
from collections.abc import Container, Sequence

import jax.numpy as jnp

from resfuse.fusion.constants import known_number
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.moves import is_move, moved
from resfuse.fusion.operands import Operand, operand_of
from resfuse.fusion.plain import Operation, operation_of
from resfuse.kernel.elementwise import ELEMENTWISE
from resfuse.kernel.epilogue import Builder

__all__ = ["Code", "Input", "Member", "Region"]

Input = Value | Operand | float  # from inside, from outside, or the same everywhere


@dataclasses.dataclass(frozen=True)
class Member:
    """An equation inside, what its operands are there, and the layout of its result."""

    node: Node
    inputs: tuple[Input, ...]
    layout: Layout

    @property
    def output(self) -> Value:
        """Its result."""
        return self.node.outputs[0]

    @functools.cached_property
    def operation(self) -> Operation:
        """What it computes."""
        return operation_of(self.node)


class Code:
    """A program that is being built, and where in it everything is.

    Attributes:
        builder: of the program.
        registers: of the builder's, for what has one.
    """

    def __init__(self, start: Value, operands: Sequence[Operand] = ()) -> None:
        self.builder = Builder()
        self.registers: dict[Input, int] = {start: self.builder.accumulator}
        for operand in operands:
            self._register(operand)

    def add(self, member: Member) -> bool:
        """Adds an equation; False if the kernel has no such operation, or the program no room."""
        node, register = member.node, self._register(member.inputs[0])
        if not is_move(node):
            registers = [each for each in map(self._register, member.inputs) if each is not None]
            whole = len(registers) == len(member.inputs)
            register = self.builder.apply(node.name, node.params, registers) if whole else None
        if register is not None:
            self.registers[member.output] = register
        return register is not None

    def _register(self, each: Input) -> int | None:
        """Where it is; None if there is no room for a further operand."""
        if isinstance(each, float):
            return self.builder.constant(each)
        if isinstance(each, Operand) and each not in self.registers:
            register = self.builder.operand(each.kind)
            if register is None:
                return None
            self.registers[each] = register
        return self.registers[each]


class Region:
    """Equations that lead from a value to others.

    Attributes:
        start: the value.
        layouts: of the values inside.
        members: the equations, in order.
        refused: elementwise equations on values inside that could not join, and why.
    """

    def __init__(self, start: Value, layout: Layout) -> None:
        self.start = start
        self.layouts = {start: layout}
        self.members: list[Member] = []
        self.refused: dict[Node, str] = {}
        self._code = Code(start)

    def grow(self, after: Sequence[Node], claimed: Container[Node]) -> None:
        """Joins all that can follow the start.

        Nothing of it may depend in another way on the nodes ``after``, of which the start is a
        result. ``claimed`` are nodes of other chains.
        """
        nodes = after[-1].scope.nodes
        waiting = self.start.readers(nodes[0].scope)
        outside = {value for node in after for value in node.outputs} - {self.start}
        for node in nodes[nodes.index(after[-1]) + 1 :]:
            if not waiting:
                return
            reads_outside = not outside.isdisjoint(node.inputs)
            if node in waiting:
                waiting.remove(node)
                reason = _TWICE if reads_outside else _CLAIMED if node in claimed else None
                if self._join(node, reason):
                    waiting |= node.outputs[0].readers(node.scope)
                else:
                    outside.update(node.outputs)
            elif reads_outside:
                outside.update(node.outputs)

    def _join(self, node: Node, reason: str | None) -> bool:
        """Adds the node if there is no ``reason`` against it, nor any other."""
        member = reason or _member(node, self.start, self.layouts)
        if isinstance(member, Member) and not self._code.add(member):
            member = "as the kernel has no such operation, or no more room"
        if isinstance(member, Member):
            self.members.append(member)
            self.layouts[member.output] = member.layout
            return True
        elementwise = node.name in (*ELEMENTWISE, "custom_jvp_call") and not is_move(node)
        if elementwise and node.outputs[0].aval.size == self.start.aval.size:
            self.refused[node] = member
        return False


_TWICE = "as its operands depend on the result in two ways"
_CLAIMED = "as it is part of another chain"


def _member(node: Node, start: Value, layouts: dict[Value, Layout]) -> Member | str:
    """The node as a member; otherwise the reason against it."""
    value = next(value for value in node.inputs if value in layouts)
    here, (result, *more) = layouts[value], (output.aval for output in node.outputs)
    if mesh_axes(start.aval) != mesh_axes(result):
        return "as it is spread over other axes of the mesh"
    if is_move(node):
        there = moved(here, node)
        return "as it breaks up the channels" if there is None else Member(node, (value,), there)
    if node.eqn.effects or more or result.shape != here.shape:
        return "as it has another shape"
    if result.dtype not in (jnp.float32, jnp.bool_):
        return f"in {result.dtype}"
    found = [_input(node, value, layouts, here) for value in node.inputs]
    inputs = tuple(each for each in found if each is not None)
    whole = len(inputs) == len(found)
    return Member(node, inputs, here) if whole else "as an operand of it is broadcast to the result"


def _input(node: Node, value: Value, layouts: dict[Value, Layout], layout: Layout) -> Input | None:
    if value in layouts:
        return value if layouts[value] == layout else None
    operand = operand_of(value, layout)
    if operand is None:
        return None
    number = known_number(operand.value)
    if number is None and node.name.startswith("custom_") and value.aval.shape != layout.shape:
        return None  # its function was traced for the shape that the value has
    return operand if number is None else number
