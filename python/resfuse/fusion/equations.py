"""What is inside an equation, as far as that decides what becomes of it."""

from collections.abc import Iterator

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

__all__ = ["convolutions_within", "own_calls", "seen_through"]

# A call without a convolution that is longer than this is no part of a chain; it stays a call,
# which JAX lowers once however often it is made.
_LONGEST_HELPER = 32


def seen_through(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The function that takes the equation's place; None if it stays."""
    return _transparent(eqn) or _reference_of_our_op(eqn)


def convolutions_within(eqn: JaxprEqn) -> Iterator[JaxprEqn]:
    """The convolutions in the functions of an equation, at any depth."""
    for jaxpr in _jaxprs(eqn):
        for inner in jaxpr.eqns:
            if inner.primitive.name == "conv_general_dilated":
                yield inner
            yield from convolutions_within(inner)


def _jaxprs(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    for param in eqn.params.values():
        for item in param if isinstance(param, tuple | list) else (param,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _transparent(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The function of a call that adds nothing to it."""
    if eqn.primitive.name not in ("jit", "pjit", "closed_call", "core_call"):
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    settings = [
        setting
        for name in ("in_shardings", "out_shardings")
        for setting in eqn.params.get(name, ())
        if type(setting).__name__ != "UnspecifiedValue"
    ]
    short = len(inner.eqns) <= _LONGEST_HELPER if isinstance(inner, ClosedJaxpr) else False
    if settings or not isinstance(inner, ClosedJaxpr):
        return None
    return inner if short or any(convolutions_within(eqn)) else None


def _reference_of_our_op(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """What ``resfuse.conv_bn_relu`` is elsewhere than on a CPU: a chain, like everyone's; so pools.

    So its weights are packed once too.
    """
    if eqn.params.get("branches_platforms") != (("cpu",), None):
        return None
    ours = own_calls(eqn) & {"resfuse_conv_affine", "resfuse_max_pool"}
    return eqn.params["branches"][1] if ours else None


def own_calls(eqn: JaxprEqn) -> set[str]:
    """Which calls of resfuse's kernel are in the functions of an equation."""
    found = set()
    for jaxpr in _jaxprs(eqn):
        for inner in jaxpr.eqns:
            target = str(inner.params.get("target_name"))
            found |= own_calls(inner) | ({target} if target.startswith("resfuse_") else set())
    return found
