"""A tail in plain JAX: its own equations once more, with whatever derivative rules they have."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from resfuse import jax_compat
from resfuse.fusion.graph import Node
from resfuse.fusion.known import known_function
from resfuse.fusion.layout import Layout, Shape
from resfuse.jax_compat import JaxprEqn

__all__ = ["Equation", "Operation", "Plain", "operation_of"]


@dataclasses.dataclass(frozen=True)
class Operation:
    """What an equation computes; it equals every other that computes the same.

    Attributes:
        key: what it is.
        function: does so.
        shapes: those that the function was traced for; None if it takes any.
    """

    key: Hashable
    function: Callable[..., Any] = dataclasses.field(compare=False)
    shapes: tuple[Shape, ...] | None = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Equation:
    """An operation on ``inputs``: a register (an integer) or a number (a float) for each."""

    operation: Operation
    inputs: tuple[int | float, ...]

    def run(self, registers: Sequence[Array]) -> Array:
        """The result; ``registers`` are the arrays so far."""
        shape = next(registers[each].shape for each in self.inputs if isinstance(each, int))
        shapes = self.operation.shapes or [shape] * len(self.inputs)
        operands = [
            registers[each] if isinstance(each, int) else jnp.full(shape, each, jnp.float32)
            for each, shape in zip(self.inputs, shapes, strict=True)
        ]
        result: Array = self.operation.function(*operands)
        return result


def operation_of(node: Node) -> Operation:
    """What the node's equation computes."""
    shapes = None
    if node.name.startswith("custom_"):
        if (function := known_function(node)) is not None:
            return Operation(function, function, None)
        shapes = tuple(value.aval.shape for value in node.inputs)
    # Not the node itself, which would keep its graph's arrays alive as long as JAX's caches live.
    return Operation(_key(node), functools.partial(_run, node.eqn), shapes)


def _run(eqn: JaxprEqn, *operands: Any) -> Any:
    return jax_compat.run(eqn, operands)[0]


def _key(node: Node) -> Hashable:
    try:
        key = node.name, tuple(sorted(node.params.items()))
        hash(key)
    except TypeError:
        return id(node.eqn)  # which nothing else has while the function lives
    return key


@dataclasses.dataclass(frozen=True)
class Plain:
    """The function of an accumulator and operands that a tail is.

    Attributes:
        layout: what the first equation takes the accumulator in.
        operands: the layouts of the results that they meet. Registers are the accumulator, these,
            and each equation's result.
        equations: in order.
        outputs: registers, and their layouts.
    """

    layout: Layout
    operands: tuple[Layout, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[tuple[int, Layout], ...]

    def __call__(self, acc: Array, *operands: Array) -> tuple[Array, ...]:
        """The outputs; ``acc`` has its channels last, and operands can be broadcast to it."""
        registers = [self.layout.apply(acc)]
        for layout, operand in zip(self.operands, operands, strict=True):
            registers.append(layout.apply(jnp.broadcast_to(operand, acc.shape)))
        for equation in self.equations:
            registers.append(equation.run(registers))
        return tuple(layout.undo(registers[index]) for index, layout in self.outputs)

    @property
    def for_any_batch(self) -> bool:
        """Whether it takes any number of images, not only that for which it was traced."""
        layouts = (self.layout, *self.operands, *(layout for _, layout in self.outputs))
        calls = any(equation.operation.shapes for equation in self.equations)
        return not calls and not any(layout.moves for layout in layouts)
