"""What is computed from images, as polynomials in them and in their statistics.

``mean(y * y) - mean(y) ** 2`` and ``mean((y - mean(y)) ** 2)`` are the same polynomial: the
variance. So are ``(y - mean) * (r * a) + b`` and ``y * (r * a) + (b - mean * (r * a))``. So a norm
is found by its meaning, whichever library wrote it.
"""

import dataclasses
from collections.abc import Mapping

from resfuse.fusion.constants import known_number
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Shape
from resfuse.fusion.symbolic.frames import Frame
from resfuse.fusion.symbolic.polynomial import Polynomial, number, variable

__all__ = ["MEAN", "VAR", "Affine", "Deviation", "Form", "Formulas", "Y"]

# The variables: the images, their means and variances, and from 3 on all others.
Y, MEAN, VAR, _OTHERS = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Deviation:
    """A variable that stands for ``1 / sqrt(var + epsilon)``, ``centred`` or with a mean of 0."""

    epsilon: float
    centred: bool


@dataclasses.dataclass(frozen=True)
class Form:
    """A value, as a polynomial for all that has a mean in common; ``frame`` says what that is.

    With ``partial``, it is added up over some of that so far.
    """

    polynomial: Polynomial
    frame: Frame
    partial: bool = False

    @property
    def of_images(self) -> bool:
        """Whether it depends on the images themselves, not only on statistics."""
        return Y in self.polynomial.variables

    def within(self, frame: Frame | None) -> "Form | None":
        """The same in a frame, if there is one."""
        return None if frame is None else dataclasses.replace(self, frame=frame)


@dataclasses.dataclass(frozen=True)
class Affine:
    """``(y - mean) / sqrt(var + epsilon) * scale + bias``; what is not centred has a mean of 0.

    ``scale`` and ``bias`` are products and sums of ``inputs``.
    """

    deviation: Deviation
    scale: Polynomial
    bias: Polynomial
    inputs: Mapping[int, Value]  # by the indices of their variables


class Formulas:
    """The forms of the values that depend on ``start``, as far as they have one."""

    def __init__(self, start: Value, frame: Frame) -> None:
        self.forms = {start: Form(variable(Y), frame)}
        self.averaged = frame.averaged
        self._others: dict[Value | Deviation, Value | Deviation] = {}  # by their origins

    def meaning(self, index: int) -> Value | Deviation:
        """What a variable stands for, other than the images and their statistics."""
        return list(self._others.values())[index - _OTHERS]

    def is_deviation(self, index: int) -> bool:
        """Whether the variable stands for a deviation."""
        return index >= _OTHERS and isinstance(self.meaning(index), Deviation)

    def is_statistic(self, index: int) -> bool:
        """Whether it stands for a number that all have in common which have a mean in common."""
        return index in (MEAN, VAR) or self.is_deviation(index)

    def variable(self, meaning: Value | Deviation, power: int = 1) -> Polynomial:
        """The variable for a value that does not depend on the images, or for a deviation."""
        origin = _origin(meaning) if isinstance(meaning, Value) else meaning
        self._others.setdefault(origin, meaning)
        return variable(_OTHERS + list(self._others).index(origin), power)

    def operands(self, node: Node) -> tuple[Form, list[Polynomial]] | None:
        """Both operands of an operation on elements, and which of their forms the result has."""
        shape = node.outputs[0].aval.shape
        forms = [self.forms.get(value) for value in node.inputs]
        spread = (_spread(form, shape) for form in forms if form is not None)
        full = [form for form in spread if form is not None]
        if not full:
            return None
        leading = max(full, key=lambda form: form.of_images)
        polynomials = [
            self._independent(value, leading.frame) if form is None else _beside(form, leading)
            for value, form in zip(node.inputs, forms, strict=True)
        ]
        found = [polynomial for polynomial in polynomials if polynomial is not None]
        return (leading, found) if len(found) == 2 else None

    def affine(self, form: Form) -> Affine | None:
        """The form as a norm of the images; None if it is none."""
        powers = form.polynomial.by_powers(Y)
        if form.partial or not powers.keys() <= {0, 1} or 1 not in powers:
            return None
        factor, rest = powers[1], powers.get(0, Polynomial({}))
        deviations = list(filter(self.is_deviation, sorted(factor.variables)))
        if len(factor.terms) != 1 or len(deviations) != 1:
            return None
        deviation = self.meaning(deviations[0])
        assert isinstance(deviation, Deviation)
        scale = factor * variable(deviations[0], -1)
        bias = rest + factor * variable(MEAN) if deviation.centred else rest
        read = sorted(scale.variables | bias.variables)
        if any(map(self.is_statistic, read)):
            return None
        inputs = {index: self.meaning(index) for index in read}
        return Affine(deviation, scale, bias, inputs)  # type: ignore[arg-type]

    def _independent(self, value: Value, frame: Frame) -> Polynomial | None:
        source = frame.independent(value)
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


def _spread(form: Form, shape: Shape) -> Form | None:
    """The form where it is repeated along axes of size 1, as operations do with statistics."""
    if form.frame.shape == shape:
        return form
    if form.of_images or len(form.frame.shape) != len(shape):
        return None
    return form.within(form.frame.spread(shape, range(len(shape))))


def _beside(form: Form, leading: Form) -> Polynomial | None:
    """The form's polynomial, if its numbers are where those of ``leading`` are."""
    if form is leading:
        return form.polynomial
    if form.partial or (form.of_images and form.frame != leading.frame):
        return None
    return form.polynomial if form.frame.meets(leading.frame) else None
