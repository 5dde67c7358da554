"""Whether a function goes element by element, and which derivatives its output alone tells."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax

from resfuse import jax_compat
from resfuse.jax_compat import ClosedJaxpr, JaxprEqn, Literal

__all__ = ["ELEMENTWISE", "IN_PRIMITIVES", "NotElementwiseError", "trace_elementwise"]


class NotElementwiseError(ValueError):
    """A function's results do not follow element by element; the message says why."""


def trace_elementwise(function: Callable[..., Any], *arrays: jax.ShapeDtypeStruct) -> ClosedJaxpr:
    """Traces a function that returns one array like its first, each element from that alone.

    Without the caller's mesh, for which ``jnp.where`` and others add operations that move arrays.

    Raises:
        NotElementwiseError: it is no such function.
    """
    with jax_compat.without_mesh():
        traced = jax.make_jaxpr(function)(*arrays)
    _check_types(traced)
    _check(traced, [index == 0 for index in range(len(traced.in_avals))])
    return traced


def _check_types(function: ClosedJaxpr) -> None:
    if len(function.out_avals) != 1:
        raise NotElementwiseError(f"it returns {len(function.out_avals)} arrays, expected one")
    (result,), x = function.out_avals, function.in_avals[0]
    if (result.shape, result.dtype) != (x.shape, x.dtype):
        raise NotElementwiseError(
            f"it makes {result.dtype} of shape {result.shape} "
            f"from {x.dtype} of shape {x.shape}, expected the same"
        )


def _check(function: ClosedJaxpr, follows: Sequence[bool]) -> list[bool]:
    """Which results follow from those inputs; complains where not element by element."""
    jaxpr = function.jaxpr
    following = {v for v, does in zip(jaxpr.invars, follows, strict=True) if does}

    def does_follow(atom: Any) -> bool:
        return not isinstance(atom, Literal) and atom in following

    for eqn in jaxpr.eqns:
        taken = list(map(does_follow, eqn.invars))
        if any(taken):
            results = zip(eqn.outvars, _check_equation(eqn, taken), strict=True)
            following.update(v for v, does in results if does)
    return list(map(does_follow, jaxpr.outvars))


def _check_equation(eqn: JaxprEqn, follows: Sequence[bool]) -> list[bool]:
    name = str(eqn.primitive.name)
    if name in (*jax_compat.CALLS, *jax_compat.CUSTOM_DERIVATIVES):
        return _check(jax_compat.function_of(eqn.params), follows)
    shapes = {_shape(v) for v, does in zip(eqn.invars, follows, strict=True) if does}
    same = set(map(_shape, eqn.outvars)) == shapes
    # What moves or repeats elements may still keep the shape, as a transposition may.
    if eqn.effects or not (same and name in ELEMENTWISE):
        raise NotElementwiseError(f"{name} is not an operation on each element by itself")
    return [True] * len(eqn.outvars)


def _shape(atom: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = atom.aval.shape
    return shape


def _number(number: float, y: Array) -> np.ndarray:
    return np.asarray(number, y.dtype)


def _max_0(y: Array) -> Array:
    return lax.max(y, _number(0, y))


_RELU = jax_compat.with_rule_of(_max_0, jax.nn.relu)
_RELU6 = jax_compat.with_rule_of(lambda y: lax.min(_max_0(y), _number(6, y)), jax.nn.relu6)


def _hard_swish(y: Array) -> Array:
    clipped = _RELU6(lax.add(y, _number(3, y)))
    return lax.mul(y, lax.div(clipped, _number(6, y)))


IN_PRIMITIVES: dict[Any, Callable[[Array], Array]] = {
    jax.nn.relu: _RELU,
    jax.nn.relu6: _RELU6,
    jax.nn.silu: lambda y: lax.mul(y, lax.logistic(y)),
    jax.nn.hard_swish: _hard_swish,
}
"""What ends most layers, in one function each and not in JAX's of functions.

To trace those takes a seventh of the time in which ``fuse`` reads a network.
"""


ELEMENTWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bessel_i0e", "bessel_i1e", "cbrt", "ceil", "clamp", "convert_element_type", "copy",
    "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2",
    "expm1", "floor", "ge", "gt", "igamma", "igammac", "integer_pow", "is_finite", "le",
    "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter",
    "not", "optimization_barrier", "or", "pow", "reduce_precision", "rem", "round", "rsqrt",
    "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
    "xor", "zeta",
}  # fmt: skip
