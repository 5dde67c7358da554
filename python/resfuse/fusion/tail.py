"""The end of a chain that is a program: which equations, and what they are for the kernel.

From the value that a chain's steps lead to grow all elementwise equations that can join. The tail
ends after the last of them that leaves only its own result to be used outside, or one value more
where that saves reading it again.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
from jax import Array

from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout
from resfuse.fusion.linear import is_linear
from resfuse.fusion.moves import is_move
from resfuse.fusion.operands import Operand
from resfuse.fusion.plain import Equation, Plain
from resfuse.fusion.region import Code, Input, Member, Region
from resfuse.kernel.epilogue import Epilogue, Gate, gate_of

__all__ = ["Tail", "tails"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tail:
    """Equations behind a chain's steps.

    Attributes:
        nodes: the equations, in order.
        outputs: the last one's result, and perhaps another value that is needed outside, with
            their layouts.
        operands: what is read from outside.
        epilogue: what that is for the kernel.
        in_place: whether the first output may take the last operand's memory.
        any_batch: whether the equations take any number of images.
    """

    nodes: Sequence[Node]
    outputs: Sequence[tuple[Value, Layout]]
    operands: Sequence[Operand]
    epilogue: Epilogue
    in_place: bool
    any_batch: bool


def tails(region: Region) -> Iterator[Tail]:
    """The tails that the region has, longest first."""
    for length, outputs in reversed(list(_ends(region))):
        yield _tail(region, region.members[:length], outputs)


def _ends(region: Region) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """After how many members a tail may end, and what of them is then needed outside."""
    unread = {region.start: len(region.start.users)}
    for length, member in enumerate(region.members, 1):
        for value in member.node.inputs:
            if value in unread:
                unread[value] -= 1
        unread[member.output] = len(member.output.users)
        last, *others = outputs = tuple(value for value in reversed(unread) if unread[value])
        floats = all(value.aval.dtype == jnp.float32 for value in outputs)
        if last is member.output and floats and len(others) <= _worthwhile(last):
            yield length, outputs


def _worthwhile(last: Value) -> int:
    """How many outputs to have beside the last value.

    A convolution finds what it reads in memory. So writing it from here costs nothing, and the
    other need not be read again to compute it; what XLA computes where it is used is not written.
    """
    readers = [node for node in last.users if node is not None]
    return int(any(map(is_linear, readers)))


def _tail(region: Region, members: Sequence[Member], outputs: Sequence[Value]) -> Tail:
    nodes = [member.node for member in members]
    read = [each for member in members for each in member.inputs if isinstance(each, Operand)]
    operands = sorted(dict.fromkeys(read), key=lambda operand: _is_replaceable(operand, nodes))
    code = Code(region.start, operands)
    for member in members:
        code.add(member)
    program = code.builder.build(*(code.registers[value] for value in outputs))
    plain = _plain(region, members, operands, outputs)
    gate = _gate(region.start, members) if len(outputs) == 1 else None
    layouts = [(value, region.layouts[value]) for value in outputs]
    in_place = bool(operands) and _is_replaceable(operands[-1], nodes)
    epilogue = Epilogue(program, plain, gate)
    return Tail(nodes, layouts, operands, epilogue, in_place, plain.for_any_batch)


def _is_replaceable(operand: Operand, nodes: Sequence[Node]) -> bool:
    """Whether the output may take its memory: it is computed here, and then needed no more."""
    value, scope = operand.value, nodes[-1].scope
    computed = value.producer is not None and value.producer.scope is scope
    return operand.kind == "tensor" and computed and value.users[-1] in nodes


def _plain(
    region: Region,
    members: Sequence[Member],
    operands: Sequence[Operand],
    outputs: Sequence[Value],
) -> Plain:
    results = (member.output for member in members)
    registers: list[Input] = [region.start, *operands, *results]
    numbers = {each: number for number, each in enumerate(registers)}
    return Plain(
        region.layouts[region.start],
        tuple(operand.layout for operand in operands),
        tuple(_equation(member, numbers) for member in members),
        tuple((numbers[value], region.layouts[value]) for value in outputs),
    )


def _equation(member: Member, numbers: dict[Input, int]) -> Equation:
    inputs = [each if isinstance(each, float) else numbers[each] for each in member.inputs]
    return Equation(member.operation, tuple(inputs))


def _gate(start: Value, members: Sequence[Member]) -> Gate | None:
    """How the derivative follows from the output: operands are added first, each once."""
    numbers: dict[Input, int] = {start: 0}
    added: set[Operand] = set()
    rest: list[Equation] = []
    for member in members:
        read = {each for each in member.inputs if isinstance(each, Operand)}
        inside = [each for each in member.inputs if isinstance(each, Value)]
        if not numbers.keys() >= set(inside):
            return None  # it needs a value from before an addition
        if is_move(member.node):
            numbers[member.output] = numbers[inside[0]]
        elif read:
            if rest or read <= added or member.node.name not in ("add", "add_any"):
                return None
            added |= read
            numbers = {member.output: 0}
        else:
            rest.append(_equation(member, numbers))
            numbers[member.output] = len(rest)
    return _gate_of(tuple(rest))


@functools.lru_cache(maxsize=256)
def _gate_of(equations: tuple[Equation, ...]) -> Gate | None:
    def function(x: Array) -> Array:
        registers = [x]
        for equation in equations:
            registers.append(equation.run(registers))
        return registers[-1]

    if not equations or any(equation.operation.shapes for equation in equations):
        return None if equations else Gate()
    (first, *others) = equations
    return gate_of(first.operation.function if not others and first.inputs == (0,) else function)
