"""Functions with a derivative rule of their own that are JAX's, by whatever name and shape."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from resfuse.fusion.graph import Node
from resfuse.kernel.epilogue import Builder, Program

__all__ = ["known_function"]

_FUNCTIONS: tuple[tuple[Callable[..., Any], int], ...] = (
    (jax.nn.relu, 1),
    (jax.nn.relu6, 1),
    (jnp.logaddexp, 2),
)


def known_function(node: Node) -> Callable[..., Any] | None:
    """The function of JAX's that has the value and the derivative of a ``custom_jvp``'s, or None.

    The derivative counts: that of ``max(x, 0)`` is a half at 0, where ReLU's is 0.
    """
    types = [value.aval for value in node.inputs]
    shapes = [jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=t.sharding) for t in types]
    programs = _programs(lambda *operands: node.run(operands)[0], shapes)
    return None if programs is None else _by_programs().get(programs)


@functools.cache
def _by_programs() -> dict[Any, Callable[..., Any]]:
    number = jax.ShapeDtypeStruct((), jnp.float32)
    return {_programs(function, [number] * count): function for function, count in _FUNCTIONS}


def _programs(function: Callable[..., Any], shapes: list[Any]) -> tuple[Program, Program] | None:
    """Value and derivative, in which shapes no longer occur; None where the kernel has no such."""

    def derivative(*both: Any) -> Any:
        return jax.jvp(function, both[: len(shapes)], both[len(shapes) :])[1]

    value, tangent = _program(function, shapes), _program(derivative, shapes * 2)
    return None if value is None or tangent is None else (value, tangent)


def _program(function: Callable[..., Any], shapes: list[Any]) -> Program | None:
    builder = Builder()
    inputs = [builder.accumulator, *(builder.operand("tensor") for _ in shapes[1:])]
    (output,) = builder.inline(jax.make_jaxpr(function)(*shapes), inputs)
    return None if output is None else builder.build(output)
