"""The rules of algebra, and of expected values, for the forms of values: one for each primitive."""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from resfuse.fusion.constants import known_number
from resfuse.fusion.graph import Node, is_literal
from resfuse.fusion.symbolic.formulas import MEAN, VAR, Deviation, Form, Formulas, Y
from resfuse.fusion.symbolic.polynomial import Polynomial, number, variable

__all__ = ["add"]

# The expected value of each power of a number of the images.
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
    return Form(left - right if node.name == "sub" else left + right, leading.frame)


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
    centred = MEAN not in rest.variables
    rest = rest if centred else rest - variable(MEAN, 2)
    epsilon = rest.terms.get((), 0.0)
    if rest.variables or epsilon < 0:
        return None
    power = 1 if node.name == "rsqrt" else -1
    return Form(formulas.variable(Deviation(epsilon, centred), power), form.frame)


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
    reorders = node.name == "reshape" and node.params["dimensions"] is not None
    if reorders or node.params.get("sharding") is not None:
        return None
    return form.within(form.frame.reshaped(node.outputs[0].aval.shape))


def _transposed(formulas: Formulas, node: Node) -> Form | None:
    form = formulas.forms[node.inputs[0]]
    return form.within(form.frame.transposed(tuple(map(int, node.params["permutation"]))))


def _broadcast(formulas: Formulas, node: Node) -> Form | None:
    """Statistics may be repeated; the images themselves may not."""
    form, shape = formulas.forms[node.inputs[0]], node.outputs[0].aval.shape
    if form.of_images or node.params["sharding"] is not None:
        same_size = math.prod(form.frame.shape) == math.prod(shape)
        return _reshaped(formulas, node) if same_size else None
    return form.within(form.frame.spread(shape, node.params["broadcast_dimensions"]))


def _reduced(formulas: Formulas, node: Node) -> Form | None:
    """Over all that is averaged it is that many times the expected value."""
    form, axes = formulas.forms[node.inputs[0]], node.params["axes"]
    if node.params.get("axis_index_groups") is not None or not form.of_images:
        return None
    if not all(isinstance(axis, int | np.integer) for axis in axes):
        return None  # a name means examples of a vmap, or parts of a shard_map
    alike = all(map(formulas.is_statistic, form.polynomial.variables - {Y}))
    frame = form.frame.reduced(axes, alike)
    if frame is None:
        return None
    if not frame.is_reduced:
        return Form(form.polynomial, frame, partial=True)
    parts = form.polynomial.by_powers(Y)
    if not parts.keys() <= _EXPECTED.keys():
        return None
    expected = sum((_EXPECTED[power] * part for power, part in parts.items()), start=Polynomial({}))
    return Form(expected * number(formulas.averaged), frame)


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
