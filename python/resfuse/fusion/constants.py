"""Constant folding: what depends on closed-over arrays only is computed once, mostly by NumPy.

Batch norm folds into a few dozen operations on short vectors for each layer. NumPy does them in
microseconds, where XLA would compile a program first; what it has no rule for, XLA does.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from resfuse.fusion.graph import Node, Value

__all__ = ["evaluate", "key_of", "known_number"]


def evaluate(values: Sequence[Value], memory: dict[Value, Any]) -> None:
    """Adds the arrays of ``values``, which are known, to ``memory``."""
    foreign: dict[Value, None] = {}
    for value in values:
        _collect(value, foreign, set())
    missing = [value for value in foreign if value not in memory]
    if missing:
        with jax.ensure_compile_time_eval():
            arrays = jax.jit(lambda: [_traced(value, {}) for value in missing])()
        memory.update(zip(missing, map(np.asarray, arrays), strict=True))
    with np.errstate(all="ignore"):  # as XLA does
        for value in values:
            _computed(value, memory)


def known_number(value: Value) -> float | None:
    """The value, if it is one known and finite number."""
    if value.aval.size != 1 or not value.known:
        return None
    memory: dict[Value, np.ndarray] = {}
    evaluate([value], memory)
    constant = float(np.asarray(memory[value]).reshape(()))
    return constant if math.isfinite(constant) else None


def key_of(value: Value) -> Any:
    """Equal for values that are computed from the same arrays in the same way."""
    if value.given:
        return id(value.array)
    node = value.producer
    assert node is not None  # the value is known
    try:
        params = tuple(sorted(node.params.items()))
        hash(params)
    except TypeError:
        return id(node)
    index = node.outputs.index(value)
    return (node.name, params, index, *map(key_of, node.inputs))


def _collect(value: Value, foreign: dict[Value, None], seen: set[Value]) -> None:
    """Adds to ``foreign`` the values on the way to this one that NumPy cannot compute."""
    node = value.producer
    if value in seen or node is None:
        return
    seen.add(value)
    if node.name not in _RULES or node.outputs[0].aval.dtype not in _DTYPES:
        foreign[value] = None
        return
    for operand in node.inputs:
        _collect(operand, foreign, seen)


def _computed(value: Value, memory: dict[Value, Any]) -> Any:
    if value not in memory:
        if value.given:
            memory[value] = np.asarray(value.array, value.aval.dtype)
        else:
            node = value.producer
            assert node is not None  # the value is known
            operands = [_computed(operand, memory) for operand in node.inputs]
            result = _RULES[node.name](node, *operands)
            memory[value] = np.asarray(result, value.aval.dtype).reshape(value.aval.shape)
    return memory[value]


def _traced(value: Value, memory: dict[Value, Any]) -> Any:
    if value.given:
        return value.array
    if value not in memory:
        node = value.producer
        assert node is not None  # the value is known
        outputs = node.run([_traced(operand, memory) for operand in node.inputs])
        memory.update(zip(node.outputs, outputs, strict=True))
    return memory[value]


def _broadcast(node: Node, x: Any, *_: Any) -> Any:
    shape = [1] * len(node.params["shape"])
    for size, axis in zip(x.shape, node.params["broadcast_dimensions"], strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), node.params["shape"])


def _ordered(node: Node, x: Any) -> Any:
    """A reshape may take the axes in another order first; ``vmap`` over weights makes such ones."""
    order = node.params["dimensions"]
    return x if order is None else x.transpose(order)


def _power(node: Node, x: Any) -> Any:
    return np.power(x, np.asarray(node.params["y"], x.dtype))


_DTYPES = {np.dtype(name) for name in ("float32", "int32", "bool")}
_RULES: dict[str, Callable[..., Any]] = {
    "add": lambda _, x, y: x + y,
    "sub": lambda _, x, y: x - y,
    "mul": lambda _, x, y: x * y,
    "neg": lambda _, x: -x,
    "max": lambda _, x, y: np.maximum(x, y),
    "min": lambda _, x, y: np.minimum(x, y),
    "sqrt": lambda _, x: np.sqrt(x),
    "rsqrt": lambda _, x: 1 / np.sqrt(x),
    "square": lambda _, x: x * x,
    "integer_pow": _power,
    "convert_element_type": lambda _, x: x,
    "reshape": _ordered,
    "squeeze": lambda _, x: x,
    "copy": lambda _, x: x,
    "pvary": lambda _, x: x,  # under shard_map this and the next say where the array is
    "pcast": lambda _, x: x,
    "transpose": lambda node, x: x.transpose(node.params["permutation"]),
    "broadcast_in_dim": _broadcast,
    "select_n": lambda _, which, *cases: np.choose(which.astype(np.int32), cases),
    "eq": lambda _, x, y: x == y,
    "gt": lambda _, x, y: x > y,
}
