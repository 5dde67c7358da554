"""What becomes of each JAX primitive in a program: an instruction, several, or none."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from resfuse import jax_compat
from resfuse.kernel.program import OF_MASKS, Register

if TYPE_CHECKING:
    from resfuse.kernel.builder import Builder

__all__ = ["CALLS", "COMPARISONS", "PLAIN", "RULES"]

CALLS = (*jax_compat.CALLS, *jax_compat.CUSTOM_DERIVATIVES)
"""The primitives of calls, whose functions are inlined."""

COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne", "is_finite")
"""The instructions that make masks of numbers."""

PLAIN = (
    *("add", "sub", "neg", "abs", "max", "sqrt", "rsqrt", "sign"),
    *("floor", "ceil", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh", "erf", "erfc"),
    *COMPARISONS,
)
"""The primitives that are instructions as they are."""

_WHOLE_POWERS = range(-4, 5)  # beyond, products lose more bits than a logarithm

Params = Mapping[str, Any]
Rule = Callable[..., Register | None]


def _same(builder: "Builder", params: Params, x: Register) -> Register:
    del builder, params
    return x


def _same_scalar(builder: "Builder", params: Params, x: Register) -> Register | None:
    """What changes a shape changes nothing of a number that is the same for the whole output."""
    del params
    return x if builder.is_scalar(x) else None


def _broadcast(builder: "Builder", params: Params, x: Register) -> Register | None:
    """An operand is repeated along axes of size 1 by itself; no other axes may come."""
    kept = params["broadcast_dimensions"] == tuple(range(len(params["shape"])))
    return x if kept else _same_scalar(builder, params, x)


def _mul(builder: "Builder", params: Params, *pair: Register) -> Register | None:
    del params
    for x, other in (pair, pair[::-1]):
        if builder.number(other) == 1.0:
            return x
    return builder.instruct("mul", *pair)


def _div(builder: "Builder", params: Params, x: Register, divisor: Register) -> Register | None:
    """By a constant it is the product with the inverse, as in XLA: a division takes four times."""
    number = builder.number(divisor)
    if number is not None and 2.0**-99 < abs(number) < 2.0**99:
        return _mul(builder, params, x, builder.constant(1.0 / number))
    return builder.instruct("div", x, divisor)


def _min(builder: "Builder", params: Params, *pair: Register) -> Register | None:
    """Between two constants it takes one pass, and not one for each."""
    del params
    for x, high in (pair, pair[::-1]):
        low, value = builder.at_least(x)
        if low is not None and builder.is_bound(high):
            return builder.instruct("clamp", low, value, high)
    return builder.instruct("min", *pair)


def _clamp(
    builder: "Builder", params: Params, low: Register, x: Register, high: Register
) -> Register | None:
    """One pass for constant bounds; others might be NaN, which makes all NaN, and take two."""
    del params
    if builder.is_bound(low) and builder.is_bound(high):
        return builder.instruct("clamp", low, x, high)
    above = builder.instruct("max", low, x)
    return None if above is None else builder.instruct("min", above, high)


def _add_any(builder: "Builder", params: Params, *pair: Register) -> Register | None:
    del params
    return builder.instruct("add", *pair)


def _square(builder: "Builder", params: Params, x: Register) -> Register | None:
    del params
    return builder.instruct("mul", x, x)


def _integer_pow(builder: "Builder", params: Params, x: Register) -> Register | None:
    return _power(builder, x, params["y"])


def _pow(builder: "Builder", params: Params, x: Register, exponent: Register) -> Register | None:
    del params
    number = builder.number(exponent)
    return None if number not in _WHOLE_POWERS else _power(builder, x, int(number or 0))


def _power(builder: "Builder", x: Register, exponent: int) -> Register | None:
    """By squaring, in the order in which JAX multiplies."""
    if exponent < 0:
        power = _power(builder, x, -exponent)
        return None if power is None else builder.instruct("div", builder.constant(1.0), power)
    result: Register | None = builder.constant(1.0) if exponent == 0 else None
    for square in _squares(builder, x, exponent.bit_length()):
        if square is None:
            return None
        if exponent & 1:
            result = square if result is None else builder.instruct("mul", result, square)
        exponent >>= 1
    return result


def _squares(builder: "Builder", x: Register, count: int) -> Iterator[Register | None]:
    square: Register | None = x
    for index in range(count):
        if index and square is not None:
            square = builder.instruct("mul", square, square)
        yield square


def _select(
    builder: "Builder", params: Params, mask: Register, *cases: Register
) -> Register | None:
    del params
    return builder.choose(mask, *cases) if len(cases) == 2 and builder.is_mask(mask) else None


def _round(builder: "Builder", params: Params, x: Register) -> Register | None:
    even = params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN
    return builder.instruct("round_even" if even else "round_away", x)


def _convert(builder: "Builder", params: Params, x: Register) -> Register | None:
    dtype = params["new_dtype"]
    if dtype == jnp.bool_ and not builder.is_mask(x):
        return builder.instruct("ne", x, builder.constant(0.0))
    return x if dtype in (jnp.bool_, jnp.float32) else None


def _reduce_precision(builder: "Builder", params: Params, x: Register) -> Register | None:
    del builder
    return x if (params["exponent_bits"], params["mantissa_bits"]) == (8, 23) else None


def _of_masks(name: str) -> Rule:
    def rule(builder: "Builder", params: Params, *registers: Register) -> Register | None:
        """On integers it would be another thing."""
        del params
        return builder.instruct(name, *registers) if all(map(builder.is_mask, registers)) else None

    return rule


def _call(builder: "Builder", params: Params, *registers: Register) -> Register | None:
    results = builder.inline(jax_compat.function_of(params), registers)
    return results[0] if len(results) == 1 else None


RULES: dict[str, Rule] = {
    "add_any": _add_any,
    "div": _div,
    "clamp": _clamp,
    "min": _min,
    "mul": _mul,
    "square": _square,
    "integer_pow": _integer_pow,
    "pow": _pow,
    "select_n": _select,
    "round": _round,
    "convert_element_type": _convert,
    "reduce_precision": _reduce_precision,
    "copy": _same,
    "copy_p": _same,
    "broadcast_in_dim": _broadcast,
    **dict.fromkeys(("reshape", "squeeze"), _same_scalar),
    **{name: _of_masks(name) for name in OF_MASKS},
    **dict.fromkeys(CALLS, _call),
}
"""What becomes of the other primitives."""
