"""The functions inside an equation: what takes its place, and what stays a body of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from resfuse import jax_compat
from resfuse.jax_compat import ClosedJaxpr, JaxprEqn

__all__ = ["Body", "bodies_of", "convolutions_within", "own_calls", "seen_through"]

# A call without a convolution that is longer than this is no part of a chain; it stays a call,
# which JAX lowers once however often it is made.
_LONGEST_HELPER = 32


class Body(NamedTuple):
    """A function of an equation.

    ``bind`` maps the equation's operands to the function's inputs: an operand where the function
    may read it directly, None where it is passed anew (what a loop carries, for example).
    """

    jaxpr: ClosedJaxpr
    bind: Callable[[Sequence[Any]], list[Any]]


def seen_through(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The function of a call, which takes its place, unless it is better kept as a call."""
    inner = jax_compat.called(eqn)
    if inner is None:
        return None
    short = len(inner.eqns) <= _LONGEST_HELPER
    return inner if short or any(convolutions_within(eqn)) else None


def bodies_of(eqn: JaxprEqn) -> list[Body]:
    """The functions of ``eqn``, in the order in which ``control_flow.py`` wants them; or none."""
    rule = _RULES.get(eqn.primitive.name)
    return rule(eqn.params) if rule else []


def convolutions_within(eqn: JaxprEqn) -> Iterator[JaxprEqn]:
    """The convolutions in the functions of an equation, at any depth."""
    for jaxpr in jax_compat.jaxprs_in_params(eqn.params):
        for inner in jaxpr.eqns:
            if inner.primitive.name == "conv_general_dilated":
                yield inner
            yield from convolutions_within(inner)


def own_calls(eqn: JaxprEqn) -> set[str]:
    """Which calls of resfuse's kernel are in the functions of an equation."""
    found = set()
    for jaxpr in jax_compat.jaxprs_in_params(eqn.params):
        for inner in jaxpr.eqns:
            target = str(inner.params.get("target_name"))
            found |= own_calls(inner) | ({target} if target.startswith("resfuse_") else set())
    return found


def _call(params: dict[str, Any]) -> list[Body]:
    """A call with shardings of its own, which is kept as one."""
    return [Body(params["jaxpr"], lambda operands: [None] * len(operands))]


def _scan(params: dict[str, Any]) -> list[Body]:
    body, constants, *_ = jax_compat.scanned(params)
    passed = len(body.in_avals) - constants
    return [Body(body, lambda operands: [*operands[:constants], *[None] * passed])]


def _while(params: dict[str, Any]) -> list[Body]:
    condition, body, first, second = jax_compat.while_parts(params)
    carried = [None] * (len(body.in_avals) - second)
    return [
        Body(condition, lambda operands: [*operands[:first], *carried]),
        Body(body, lambda operands: [*operands[first:][:second], *carried]),
    ]


def _cond(params: dict[str, Any]) -> list[Body]:
    if jax_compat.platforms(params):
        return []  # a choice by platform, such as our own op makes
    return [
        Body(branch, lambda operands: list(operands[1:])) for branch in jax_compat.branches(params)
    ]


def _checkpoint(params: dict[str, Any]) -> list[Body]:
    parts = jax_compat.checkpointed(params)
    return [] if parts is None else [Body(parts[0], list)]


def _custom(params: dict[str, Any]) -> list[Body]:
    """What is differentiated must be passed; constants are not."""
    function = jax_compat.differentiable(params)
    return [Body(function, lambda operands: [v if v.known else None for v in operands])]


_RULES: dict[str, Callable[[dict[str, Any]], list[Body]]] = {
    **dict.fromkeys(jax_compat.CALLS, _call),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    jax_compat.CHECKPOINT: _checkpoint,
    "custom_jvp_call": _custom,
    "custom_vjp_call": _custom,
}
