"""Constant folding: what depends on closed-over arrays only is computed once, mostly by NumPy.

Batch norm folds into a few dozen operations on short vectors for each layer, standardized weights
are a few on a kernel. NumPy does them while XLA would compile a program; what it has no rule for,
XLA does.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from resfuse.fusion.graph import Node, Value

__all__ = ["evaluate", "key_of", "known_number"]


def evaluate(values: Sequence[Value], memory: dict[Value, Any]) -> None:
    """Adds the arrays of ``values``, which are known, to ``memory``."""
    missing = [value for value in _origins(values, _is_foreign) if value not in memory]
    if missing:
        memory.update(zip(missing, _compiled(missing), strict=True))
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


def _origins(values: Sequence[Value], wanted: Callable[[Value], bool]) -> list[Value]:
    """The nearest ``wanted`` ones among the values and what they are computed from."""
    found, seen, left = [], set(), list(values)
    while left:
        value = left.pop()
        if value in seen:
            continue
        seen.add(value)
        if wanted(value):
            found.append(value)
        elif value.producer is not None:
            left.extend(value.producer.inputs)
    return found


def _is_foreign(value: Value) -> bool:
    return value.producer is not None and _rule(value.producer) is None


def _rule(node: Node) -> Callable[..., Any] | None:
    """How NumPy computes it, if it does."""
    dtype = node.outputs[0].aval.dtype
    if dtype == np.float32 and node.name in _FLOAT_RULES:
        return _FLOAT_RULES[node.name]
    return _RULES.get(node.name) if dtype in _DTYPES else None


def _computed(value: Value, memory: dict[Value, Any]) -> Any:
    if value not in memory:
        if value.given:
            memory[value] = np.asarray(value.array, value.aval.dtype)
        else:
            node = value.producer
            assert node is not None  # the value is known
            rule = _rule(node)
            assert rule is not None  # others are in memory
            result = rule(node, *[_computed(operand, memory) for operand in node.inputs])
            memory[value] = np.asarray(result, value.aval.dtype).reshape(value.aval.shape)
    return memory[value]


def _compiled(values: Sequence[Value]) -> Iterable[np.ndarray]:
    """The arrays of ``values``, by one program.

    The arrays that they come from are its arguments. As constants, JAX would run each operation by
    a program of its own, or XLA would fold them, slowly.
    """
    given = _origins(values, lambda value: value.given)

    def program(arrays: Sequence[Any]) -> list[Any]:
        memory = dict(zip(given, arrays, strict=True))
        return [_traced(value, memory) for value in values]

    with jax.ensure_compile_time_eval():
        arrays = jax.device_put(list(map(_uncommitted, given)))  # which no transfer guard refuses
        return list(map(np.asarray, jax.jit(program)(arrays)))


def _uncommitted(value: Value) -> Any:
    """Its array, on no device in particular."""
    is_key = not isinstance(value.aval.dtype, np.dtype)
    return value.array if is_key else np.asarray(value.array, value.aval.dtype)


def _traced(value: Value, memory: dict[Value, Any]) -> Any:
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
_FLOAT_RULES: dict[str, Callable[..., Any]] = {
    "abs": lambda _, x: np.abs(x),
    "div": lambda _, x, y: x / y,
    "exp": lambda _, x: np.exp(x),
    "reduce_sum": lambda node, x: x.sum(node.params["axes"], dtype=np.float64),
}
