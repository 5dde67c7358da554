"""Operations with one number for each channel, and what they are together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resfuse.fusion.graph import Value

__all__ = ["BINARY", "Step", "fold", "full", "row"]


@dataclasses.dataclass(frozen=True)
class Step:
    """``y * a``, ``y + a`` and so on for one number ``a`` per channel; ``swapped``: ``a - y``."""

    kind: str
    operand: Value | None
    swapped: bool = False


def fold(steps: Sequence[Step], channels: int, read: Callable[[Value], Any]) -> tuple[Any, Any]:
    """``(a, b)``, both ``(C,)``, of ``a * y + b``: what the steps make of ``y``.

    ``read`` gives the operands, which are arrays of NumPy's if they are known, or tracers.
    """
    a: Any = np.ones(channels, np.float32)
    b: Any = np.zeros(channels, np.float32)
    is_shifted = False  # before, b is 0 whatever a is: 0 * inf would be NaN
    for step in steps:
        if step.operand is None:
            a, b = -a, -b
            continue
        is_shifted |= step.kind not in ("mul", "div")
        a, after = _RULES[step.kind](a, b, row(read(step.operand)), step.swapped)
        b = after if is_shifted else b
    return full(a, channels), full(b, channels)


def row(array: Any) -> Any:
    """``(C,)``, or ``(1,)``."""
    array = array if hasattr(array, "reshape") else np.asarray(array)
    return array.astype(np.float32).reshape(-1)


def full(array: Any, channels: int) -> Any:
    """``(C,)``."""
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
BINARY = tuple(_RULES)
"""The kinds of steps that have an operand: all but ``"neg"``."""
