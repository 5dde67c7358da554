"""Derivatives that follow from the output alone: those of ReLU, leaky ReLU and clipping."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from resfuse.kernel.builder import Builder
from resfuse.kernel.call import Attribute, bits
from resfuse.kernel.elementwise import trace_elementwise
from resfuse.kernel.program import Program

__all__ = ["Gate", "derived", "gate_of"]

Function = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Gate:
    """A function whose derivative is 1 where all ``tests`` hold for the output.

    Called, it computes the function in plain JAX.

    Attributes:
        tests: comparisons ``(name, bound)`` of the output with a number; ``name`` is that of the
            primitive, such as ``"gt"``. None at all: the derivative is 1 everywhere.
        otherwise: the derivative elsewhere.
    """

    tests: tuple[tuple[str, float], ...] = ()
    otherwise: float = 0.0

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The gate as the handlers take it; without any tests it is none."""
        bounds = dict(self.tests)
        low = bounds.get("gt", bounds.get("ge", np.nan))
        numbers = (low, bounds.get("lt", np.nan), self.otherwise) if bounds else ()
        return {"gate": bits(*numbers), "at_least": "ge" in bounds, "silu": False}

    def __call__(self, x: Array) -> Array:
        """The function itself, where it is closed the nearer bound or ``otherwise * x``."""
        return _apply(self, x)

    def opened(self, y: Array) -> Array | None:
        """Where the derivative is 1, a mask of the output's shape; None: everywhere."""
        masks = [getattr(lax, name)(y, jnp.full_like(y, bound)) for name, bound in self.tests]
        return functools.reduce(jnp.logical_and, masks) if masks else None

    def pull(self, opened: Array | None, d_y: Array) -> Array:
        """The cotangent of what the gate is applied to."""
        if opened is None:
            return d_y
        return jnp.where(opened, d_y, d_y * self.otherwise if self.otherwise else 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply(gate: Gate, x: Array) -> Array:
    if gate.otherwise:
        return gate.pull(gate.opened(x), x)
    sides = {"gt": lax.max, "ge": lax.max, "lt": lax.min}
    for name, bound in gate.tests:
        x = sides[name](x, jnp.full_like(x, bound))
    return x


@_apply.defjvp
def _apply_derivative(gate: Gate, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return gate(x), gate.pull(gate.opened(x), tangent)


def gate_of(function: Function) -> Gate | None:
    """The gate of an elementwise function; None unless value and derivative are among these.

        max(x, a)               where(x > a, t, 0)              ReLU; that of max(x, 0) is 1/2 at 0
        min(max(x, a), b)       where((x > a) & (x < b), t, 0)
        where(x > 0, x, s x)    where(x > 0, t, s t)            s > 0; likewise with x >= 0

    The tests hold for the output just where they hold for ``x``. The derivative counts as JAX
    gives it: functions of one value differ in it where two cases meet.
    """
    if isinstance(function, Gate):
        return function
    return _KNOWN[function] if function in _KNOWN else derived(function)


# To trace four functions takes a third of the time in which ResNet-50's chains are found.
_KNOWN = {
    jax.nn.relu: Gate((("gt", 0.0),)),
    jax.nn.relu6: Gate((("gt", 0.0), ("lt", 6.0))),
}


def derived(function: Function) -> Gate | None:
    """As :func:`gate_of`, from the function's own equations and its derivative's."""

    def derivative(x: Array, tangent: Array) -> Array:
        result: Array = jax.jvp(function, (x,), (tangent,))[1]
        return result

    found = _program(function, 1), _program(derivative, 2)
    if None in found:
        return None
    for gate in _candidates(found[0]):
        slope = functools.partial(_slope, gate)
        if found == (_program(gate, 1), _program(slope, 2)):
            return gate
    return None


def _slope(gate: Gate, x: Array, tangent: Array) -> Array:
    return gate.pull(gate.opened(x), tangent)


def _candidates(program: Program | None) -> Iterator[Gate]:
    """Gates with the program's constants."""
    numbers = sorted(program.numbers.tolist()) if program else []
    if len(numbers) == 1:
        yield Gate((("gt", numbers[0]),))
    if len(numbers) == 2:
        low, high = numbers
        yield Gate((("gt", low), ("lt", high)))
        if low == 0.0:
            yield from (Gate(((name, 0.0),), high) for name in ("gt", "ge"))


def _program(function: Callable[..., Any], inputs: int) -> Program | None:
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    builder = Builder()
    taken = [builder.accumulator, *(builder.operand("tensor") for _ in range(inputs - 1))]
    try:
        jaxpr = trace_elementwise(function, *[x] * inputs)
    except (TypeError, ValueError):
        return None  # it has no derivative in forward mode, or closes over another shape
    (output,) = builder.inline(jaxpr, taken)
    return None if output is None else builder.build(output)
