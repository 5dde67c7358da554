"""The arithmetic of a chain's scale and shift, on arrays that are known or on tracers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from resfuse.fusion.graph import Value
from resfuse.fusion.match import Chain

__all__ = ["combine"]


def combine(chain: Chain, read: Callable[[Value], Any]) -> tuple[Any, Any]:
    """``(a, b)``, both ``(C,)``, of ``a * y + b``: what the chain's steps make of ``y``."""
    a: Any = np.ones(chain.channels, np.float32)
    b: Any = np.zeros(chain.channels, np.float32)
    for step in chain.steps:
        if step.operand is None:
            a, b = -a, -b
            continue
        operand = _row(read(step.operand))
        a, b = _RULES[step.kind](a, b, operand, step.swapped)
    return _full(a, chain.channels), _full(b, chain.channels)


def _row(array: Any) -> Any:
    array = array if hasattr(array, "reshape") else np.asarray(array)
    return array.astype(np.float32).reshape(-1)


def _full(array: Any, channels: int) -> Any:
    return array if array.shape == (channels,) else array + np.zeros(channels, np.float32)


def _subtract(a: Any, b: Any, operand: Any, swapped: bool) -> tuple[Any, Any]:
    return (-a, operand - b) if swapped else (a, b - operand)


_RULES: dict[str, Callable[[Any, Any, Any, bool], tuple[Any, Any]]] = {
    "add": lambda a, b, operand, _: (a, b + operand),
    "add_any": lambda a, b, operand, _: (a, b + operand),
    "sub": _subtract,
    "mul": lambda a, b, operand, _: (a * operand, b * operand),
    "div": lambda a, b, operand, _: (a / operand, b / operand),
}
