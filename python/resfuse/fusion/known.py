"""Functions with a derivative rule of their own that are JAX's, by whatever name and shape."""

import functools
import weakref
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from resfuse import jax_compat
from resfuse.fusion.graph import Node
from resfuse.jax_compat import ClosedJaxpr
from resfuse.kernel.epilogue import Builder, Program

__all__ = ["known_function"]

# With the number of their arguments.
_FUNCTIONS: dict[Callable[..., Any], int] = {jax.nn.relu: 1, jax.nn.relu6: 1, jnp.logaddexp: 2}


# By the body, which is one equation's alone. Layers of equal sizes share their equation, in all
# programs, and to derive it takes a millisecond.
_found: MutableMapping[ClosedJaxpr, Callable[..., Any] | None] = weakref.WeakKeyDictionary()


def known_function(node: Node) -> Callable[..., Any] | None:
    """The function of JAX's that has the value and the derivative of a ``custom_jvp``'s, or None.

    The derivative counts: that of ``max(x, 0)`` is a half at 0, where ReLU's is 0.
    """
    body = jax_compat.differentiable(node.params)
    if body not in _found:
        _found[body] = _function(node, body)
    return _found[body]


def _function(node: Node, body: ClosedJaxpr) -> Callable[..., Any] | None:
    for each in _FUNCTIONS:
        if jax_compat.has_rule_of(node.params, each):
            return each  # itself: nothing else has its rule
    function = _by_value().get(_program(body))
    if function is None:
        return None
    types = [value.aval for value in node.inputs]
    shapes = [jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=t.sharding) for t in types]
    found = _derivative(lambda *operands: node.run(operands)[0], shapes)
    return function if found == _known_derivative(function) else None


@functools.cache
def _by_value() -> dict[Program | None, Callable[..., Any]]:
    """Each function by the program of its value."""
    return {
        _program(jax.make_jaxpr(function)(*_numbers(function))): function for function in _FUNCTIONS
    }


@functools.cache
def _known_derivative(function: Callable[..., Any]) -> Program | None:
    return _derivative(function, _numbers(function))


def _numbers(function: Callable[..., Any]) -> list[Any]:
    return [jax.ShapeDtypeStruct((), jnp.float32)] * _FUNCTIONS[function]


def _derivative(function: Callable[..., Any], shapes: Sequence[Any]) -> Program | None:
    def derivative(*both: Any) -> Any:
        return jax.jvp(function, both[: len(shapes)], both[len(shapes) :])[1]

    return _program(jax.make_jaxpr(derivative)(*shapes, *shapes))


def _program(function: ClosedJaxpr) -> Program | None:
    """What the function computes, in which shapes no longer occur."""
    builder = Builder()
    operands = (builder.operand("tensor") for _ in function.in_avals[1:])
    outputs = builder.inline(function, [builder.accumulator, *operands])
    (output,) = outputs if len(outputs) == 1 else (None,)
    return None if output is None else builder.build(output)
