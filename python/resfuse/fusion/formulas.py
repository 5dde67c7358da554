"""What is computed from a convolution's result, as polynomials in it and in its statistics.

``mean(y * y) - mean(y) ** 2`` and ``mean((y - mean(y)) ** 2)`` are the same polynomial: the
variance. So are ``(y - mean) * (r * a) + b`` and ``y * (r * a) + (b - mean * (r * a))``. So a batch
norm is found by its meaning, whichever library wrote it.
"""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from resfuse.fusion.geometry import Layout
from resfuse.fusion.graph import Node, Value, is_literal
from resfuse.fusion.known import evaluate
from resfuse.fusion.match import per_channel
from resfuse.fusion.polynomial import Polynomial, number, variable

__all__ = ["MEAN", "VAR", "Deviation", "Form", "Formulas", "Y"]

# The variables: the result, its mean and variance for each channel, and from 3 on all others.
Y, MEAN, VAR, _OTHERS = 0, 1, 2, 3
_EXPECTED = {
    0: number(1),
    1: variable(MEAN),
    2: variable(VAR) + variable(MEAN, 2),
}  # of the powers of Y


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
        self._others: list[Value | Deviation] = []

    def add(self, node: Node) -> None:
        """Adds the form of the node's output."""
        rule = _RULES.get(node.name)
        if rule is None or len(node.outputs) != 1 or node.outputs[0].aval.dtype != jnp.float32:
            return
        form = rule(self, node)
        if form is not None and form.polynomial.variables and form.polynomial.short:
            self.forms[node.outputs[0]] = form

    def meaning(self, index: int) -> Value | Deviation:
        """Of a variable that is neither the result nor its statistics."""
        return self._others[index - _OTHERS]

    def is_deviation(self, index: int) -> bool:
        """Whether the variable stands for one."""
        return index >= _OTHERS and isinstance(self.meaning(index), Deviation)

    def variable(self, meaning: Value | Deviation, power: int = 1) -> Polynomial:
        """The variable for a value that does not depend on the result, or for a deviation."""
        if meaning not in self._others:
            self._others.append(meaning)
        return variable(_OTHERS + self._others.index(meaning), power)

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
        return self.variable(_origin(source))


def known_number(value: Value) -> float | None:
    """The value, if it is one known and finite number."""
    if value.aval.size != 1 or not value.known:
        return None
    memory: dict[Value, np.ndarray] = {}
    evaluate([value], memory)
    constant = float(np.asarray(memory[value]).reshape(()))
    return constant if math.isfinite(constant) else None


def _origin(value: Value) -> Value:
    """Where the same numbers in the same order come from: two uses are then one variable."""
    node = value.producer
    while node is not None and node.name in ("reshape", "squeeze", "broadcast_in_dim"):
        if len(node.inputs) != 1 or node.inputs[0].aval.size != value.aval.size:
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


def _sum(formulas: Formulas, node: Node) -> Form | None:
    left_and_right = formulas.operands(node)
    if left_and_right is None or left_and_right[0].partial:
        return None
    leading, (left, right) = left_and_right
    return Form(left - right if node.name == "sub" else left + right, leading.layout)


def _product(formulas: Formulas, node: Node) -> Form | None:
    left_and_right = formulas.operands(node)
    if left_and_right is None:
        return None
    leading, (left, right) = left_and_right
    if node.name == "div":
        inverse = right.reciprocal()
        if inverse is None or not left.variables.isdisjoint(right.variables):
            return None
        right = inverse
    if leading.partial and left.variables and right.variables:
        return None
    return dataclasses.replace(leading, polynomial=left * right)


def _negative(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    return dataclasses.replace(form, polynomial=-form.polynomial)


def _square(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    if form.partial or node.params.get("y", 2) != 2:
        return None
    return dataclasses.replace(form, polynomial=form.polynomial * form.polynomial)


def _root(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    rest = form.polynomial - variable(VAR)
    epsilon = rest.terms.get((), 0.0)
    if rest.variables or epsilon < 0:
        return None
    power = 1 if node.name == "rsqrt" else -1
    return Form(formulas.variable(Deviation(epsilon), power), form.layout)


def _at_least_zero(formulas: Formulas, node: Node) -> Form | None:
    """Of a variance, which already is."""
    for value, bound in (node.inputs, node.inputs[::-1]):
        form = formulas.forms.get(value)
        if form is not None and form.polynomial == variable(VAR) and is_literal(bound, 0.0):
            return form
    return None


def _choice(formulas: Formulas, node: Node) -> Form | None:
    """One that is known, such as whether there are any pixels."""
    which, *cases = node.inputs
    index = known_number(which)
    return None if index is None else formulas.forms.get(cases[int(index)])


def _same(formulas: Formulas, node: Node) -> Form | None:
    return formulas.forms[node.inputs[0]]


def _reshaped(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    layout = form.layout.reshaped(node.outputs[0].aval.shape)
    reorders = node.name == "reshape" and node.params["dimensions"] is not None
    if layout is None or reorders or node.params.get("sharding") is not None:
        return None
    return dataclasses.replace(form, layout=layout)


def _transposed(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    order = tuple(map(int, node.params["permutation"]))
    return dataclasses.replace(form, layout=form.layout.transposed(order))


def _broadcast(formulas: Formulas, node: Node) -> Form | None:
    """Statistics may be repeated for every pixel; the result itself may not."""
    form, shape = formulas.forms[node.inputs[0]], node.outputs[0].aval.shape
    if form.of_pixels or node.params["sharding"] is not None:
        same_size = math.prod(form.layout.shape) == math.prod(shape)
        return _reshaped(formulas, node) if same_size else None
    channels = int(node.params["broadcast_dimensions"][form.layout.channels])
    if shape[channels] != form.layout.shape[form.layout.channels]:
        return None
    return Form(form.polynomial, Layout(shape, channels))


def _reduced(formulas: Formulas, node: Node) -> Form | None:
    """Over all pixels it is that many times the expected value."""
    form, axes = formulas.forms[node.inputs[0]], node.params["axes"]
    if node.params.get("axis_index_groups") is not None or not form.of_pixels:
        return None
    if not all(isinstance(axis, int | np.integer) for axis in axes):
        return None  # of a vmap or shard_map around it, by name
    before, shape = form.layout.channels, node.outputs[0].aval.shape
    if before in axes:
        return None
    layout = Layout(shape, before - sum(axis < before for axis in axes))
    if math.prod(shape) > shape[layout.channels]:
        return Form(form.polynomial, layout, partial=True)
    parts = form.polynomial.by_powers(Y)
    if not parts.keys() <= _EXPECTED.keys():
        return None
    expected = sum((_EXPECTED[power] * part for power, part in parts.items()), start=Polynomial({}))
    return Form(expected * number(formulas.pixels), layout)


_RULES: dict[str, Callable[[Formulas, Node], Form | None]] = {
    "add": _sum,
    "add_any": _sum,
    "sub": _sum,
    "mul": _product,
    "div": _product,
    "neg": _negative,
    "square": _square,
    "integer_pow": _square,
    "sqrt": _root,
    "rsqrt": _root,
    "max": _at_least_zero,
    "select_n": _choice,
    "convert_element_type": _same,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "transpose": _transposed,
    "broadcast_in_dim": _broadcast,
    "reduce_sum": _reduced,
    "psum": _reduced,
}
