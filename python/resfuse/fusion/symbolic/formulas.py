"""What is computed from a convolution's result, as polynomials in it and in its statistics.

``mean(y * y) - mean(y) ** 2`` and ``mean((y - mean(y)) ** 2)`` are the same polynomial: the
variance. So are ``(y - mean) * (r * a) + b`` and ``y * (r * a) + (b - mean * (r * a))``. So a batch
norm is found by its meaning, whichever library wrote it.
"""

import dataclasses
import math

from resfuse.fusion.constants import known_number
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout
from resfuse.fusion.operands import per_channel
from resfuse.fusion.symbolic.polynomial import Polynomial, number, variable

__all__ = ["MEAN", "VAR", "Deviation", "Form", "Formulas", "Y"]

# The variables: the result, its mean and variance for each channel, and from 3 on all others.
Y, MEAN, VAR, _OTHERS = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Deviation:
    """A variable that stands for ``1 / sqrt(var + epsilon)``."""

    epsilon: float


@dataclasses.dataclass(frozen=True)
class Form:
    """A value, as a polynomial for each channel; ``layout`` says which axis they are.

    With ``partial``, it is added up over some of the pixels so far.
    """

    polynomial: Polynomial
    layout: Layout
    partial: bool = False

    @property
    def of_pixels(self) -> bool:
        """Whether it depends on the result itself, not only on statistics."""
        return Y in self.polynomial.variables


class Formulas:
    """The forms of the values that depend on ``start``, as far as they have one."""

    def __init__(self, start: Value, layout: Layout) -> None:
        self.forms = {start: Form(variable(Y), layout)}
        self.pixels = math.prod(layout.shape) // layout.shape[layout.channels]
        self._others: dict[Value | Deviation, Value | Deviation] = {}  # by their origins

    def meaning(self, index: int) -> Value | Deviation:
        """What a variable stands for, other than the result and its statistics."""
        return list(self._others.values())[index - _OTHERS]

    def is_deviation(self, index: int) -> bool:
        """Whether the variable stands for a deviation."""
        return index >= _OTHERS and isinstance(self.meaning(index), Deviation)

    def variable(self, meaning: Value | Deviation, power: int = 1) -> Polynomial:
        """The variable for a value that does not depend on the result, or for a deviation."""
        origin = _origin(meaning) if isinstance(meaning, Value) else meaning
        self._others.setdefault(origin, meaning)
        return variable(_OTHERS + list(self._others).index(origin), power)

    def operands(self, node: Node) -> tuple[Form, list[Polynomial]] | None:
        """Both operands of an operation on elements, and which of their forms the result has."""
        shape = node.outputs[0].aval.shape
        forms = [self.forms.get(value) for value in node.inputs]
        full = [form for form in forms if form is not None and form.layout.shape == shape]
        if not full:
            return None
        leading = max(full, key=lambda form: form.of_pixels)
        polynomials = [
            self._independent(value, leading.layout) if form is None else _beside(form, leading)
            for value, form in zip(node.inputs, forms, strict=True)
        ]
        found = [polynomial for polynomial in polynomials if polynomial is not None]
        return (leading, found) if len(found) == 2 else None

    def _independent(self, value: Value, layout: Layout) -> Polynomial | None:
        source = per_channel(value, layout)
        if source is None:
            return None
        if (constant := known_number(source)) is not None:
            return number(constant)
        return self.variable(source)


def _origin(value: Value) -> Value:
    """Where the same numbers in the same order come from: two uses are then one variable.

    To be compared only: it may lie within another chain, which does not give it out.
    """
    node = value.producer
    while node is not None and node.name in ("reshape", "squeeze", "broadcast_in_dim"):
        reorders = node.params.get("dimensions") is not None and node.name == "reshape"
        if reorders or len(node.inputs) != 1 or node.inputs[0].aval.size != value.aval.size:
            break
        value = node.inputs[0]
        node = value.producer
    return value


def _beside(form: Form, leading: Form) -> Polynomial | None:
    """The form's polynomial, if it has the channels, and the pixels, where ``leading`` has them."""
    if form is leading:
        return form.polynomial
    here, there = form.layout, leading.layout
    if form.partial or (form.of_pixels and here != there):
        return None
    aligned = len(here.shape) == len(there.shape) and here.channels == there.channels
    return form.polynomial if aligned or math.prod(here.shape) == 1 else None
