"""The functions inside the equations of control flow, and what they read of their caller."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

__all__ = ["Body", "of", "scan_counts"]


@dataclasses.dataclass(frozen=True)
class Body:
    """A function of an equation.

    ``bind`` maps the equation's operands to the function's inputs: an operand where the function
    may read it directly, None where it is passed anew (what a loop carries, for example).
    """

    jaxpr: Jaxpr
    constants: Sequence[Any]
    bind: Callable[[Sequence[Any]], list[Any]]


def of(eqn: JaxprEqn) -> list[Body]:
    """The functions of ``eqn``, in the order in which ``control.py`` wants them; or none."""
    rule = _RULES.get(eqn.primitive.name)
    return rule(eqn.params) if rule else []


def _body(jaxpr: Any, bind: Callable[[Sequence[Any]], list[Any]]) -> Body:
    if isinstance(jaxpr, ClosedJaxpr):
        return Body(jaxpr.jaxpr, jaxpr.consts, bind)
    return Body(jaxpr, (), bind)


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many constants a scan has, and how many arrays it carries."""
    if "ft_in" in params:  # newer JAX
        constants, carried, _ = params["ft_in"].unpack()
        return len(constants), len(carried)
    return params["num_consts"], params["num_carry"]


def _scan(params: dict[str, Any]) -> list[Body]:
    fixed, _ = scan_counts(params)
    passed = len(params["jaxpr"].in_avals) - fixed
    return [_body(params["jaxpr"], lambda operands: [*operands[:fixed], *[None] * passed])]


def _while(params: dict[str, Any]) -> list[Body]:
    first, second = params["cond_nconsts"], params["body_nconsts"]
    carried = [None] * (len(params["body_jaxpr"].in_avals) - second)
    return [
        _body(params["cond_jaxpr"], lambda operands: [*operands[:first], *carried]),
        _body(params["body_jaxpr"], lambda operands: [*operands[first:][:second], *carried]),
    ]


def _cond(params: dict[str, Any]) -> list[Body]:
    if params.get("branches_platforms"):
        return []  # a choice by platform, such as our own op makes
    return [_body(branch, lambda operands: list(operands[1:])) for branch in params["branches"]]


def _remat(params: dict[str, Any]) -> list[Body]:
    return [] if params["differentiated"] else [_body(params["jaxpr"], list)]


def _custom(params: dict[str, Any]) -> list[Body]:
    """What is differentiated must be passed; constants are not."""
    return [
        _body(params["call_jaxpr"], lambda operands: [v if v.known else None for v in operands])
    ]


def _call(params: dict[str, Any]) -> list[Body]:
    """A call with shardings of its own, which is kept as one."""
    return [_body(params["jaxpr"], lambda operands: [None] * len(operands))]


_RULES: dict[str, Callable[[dict[str, Any]], list[Body]]] = {
    "jit": _call,
    "pjit": _call,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "checkpoint": _remat,
    "remat": _remat,
    "remat2": _remat,
    "custom_jvp_call": _custom,
    "custom_vjp_call": _custom,
    "custom_vjp_call_jaxpr": _custom,
}
