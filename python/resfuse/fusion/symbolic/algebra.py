"""The rules of algebra, and of expected values, for the forms of values: one for each primitive."""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from resfuse.fusion.constants import known_number
from resfuse.fusion.graph import Node, is_literal
from resfuse.fusion.layout import Layout
from resfuse.fusion.symbolic.formulas import MEAN, VAR, Deviation, Form, Formulas, Y
from resfuse.fusion.symbolic.polynomial import Polynomial, number, variable

__all__ = ["add"]

# The expected value of each power of a pixel of the result.
_EXPECTED = {0: number(1), 1: variable(MEAN), 2: variable(VAR) + variable(MEAN, 2)}


def add(node: Node, formulas: Formulas) -> None:
    """Adds the form of the node's output, if it has one; of its inputs at least one has."""
    rule = _RULES.get(node.name)
    if rule is None or len(node.outputs) != 1 or node.outputs[0].aval.dtype != jnp.float32:
        return
    form = rule(formulas, node)
    if form is not None and form.polynomial.variables and form.polynomial.short:
        formulas.forms[node.outputs[0]] = form


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
    """The variance itself, which is at least zero already."""
    for value, bound in (node.inputs, node.inputs[::-1]):
        form = formulas.forms.get(value)
        if form is not None and form.polynomial == variable(VAR) and is_literal(bound, 0.0):
            return form
    return None


def _choice(formulas: Formulas, node: Node) -> Form | None:
    """The case that is taken, if that is known, as for whether there are any pixels."""
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
        return None  # a name means examples of a vmap, or parts of a shard_map
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
