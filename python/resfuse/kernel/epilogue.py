"""What follows a convolution element by element: for the kernel, for JAX, and its derivative.

    y = E(scale * conv(x, kernel) + shift, *operands)

The kernel runs a :class:`Program`. Derivatives, and devices other than CPUs, take the same function
in plain JAX; where the output alone says what the derivative is, a :class:`Gate` does.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from resfuse.jax_compat import ClosedJaxpr
from resfuse.kernel.builder import Builder
from resfuse.kernel.elementwise import NotElementwiseError, trace_elementwise
from resfuse.kernel.gate import Gate, gate_of
from resfuse.kernel.program import MAX_OPERANDS, Kind, Program, Register
from resfuse.reference import per_channel

__all__ = [
    "ADD",
    "ADD_RELU",
    "IDENTITY",
    "MAX_OPERANDS",
    "RELU",
    "Builder",
    "Epilogue",
    "Gate",
    "Kind",
    "NotElementwiseError",
    "Program",
    "Register",
    "activation_epilogue",
    "compile_elementwise",
    "gate_of",
    "spread",
]

Plain = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Epilogue:
    """One function of an accumulator and operands, in the forms that it is needed in.

    Attributes:
        program: what the kernel runs.
        plain: the same in plain JAX, ``plain(acc, *operands)``, whose derivatives are taken.
            Operands have the accumulator's rank, with axes of size 1 for what they have no numbers
            for. It returns an array, or as many as the program has outputs.
        gate: the derivative, where the only output is a function of the sum of the accumulator and
            all operands, and says itself what the derivative by that sum is.
    """

    program: Program
    plain: Plain
    gate: Gate | None = None

    def outputs(self, acc: Array, *operands: Array) -> tuple[Array, ...]:
        """``plain`` of operands as the kernel takes them, always as a tuple."""
        results = self.plain(acc, *(spread(operand, acc) for operand in operands))
        return tuple(results) if isinstance(results, tuple | list) else (results,)

    def replaced(self, in_place: bool) -> int | None:
        """Of a call, whose last operands are these: the place of the one that the output replaces.

        The last one, if it may be replaced and has the output's shape.
        """
        return -1 if in_place and self.program.operands[-1:] == ("tensor",) else None

    def with_accumulator(self) -> "Epilogue":
        """The same that returns the accumulator as well, at last."""
        if self.program.outputs[-1] == 0:
            return self
        program = dataclasses.replace(self.program, outputs=(*self.program.outputs, 0))
        return Epilogue(program, _WithAccumulator(self))


@dataclasses.dataclass(frozen=True)
class _WithAccumulator:
    epilogue: Epilogue

    def __call__(self, acc: Array, *operands: Array) -> tuple[Array, ...]:
        return (*self.epilogue.outputs(acc, *operands), acc)


def spread(operand: Array, acc: Array) -> Array:
    """The operand with the accumulator's rank: axes of size 1 for what it has no numbers for."""
    if operand.ndim == 1:
        return per_channel(operand, acc)
    return jnp.expand_dims(operand, range(1, acc.ndim - 1)) if operand.ndim == 2 else operand


@dataclasses.dataclass(frozen=True)
class _OfSum:
    """``function(acc + operands)``; a class, so that equal functions make equal epilogues."""

    function: Callable[[Array], Array] | None

    def __call__(self, acc: Array, *operands: Array) -> Array:
        total = sum(operands, acc)
        return total if self.function is None else self.function(total)


def activation_epilogue(
    activation: Callable[[Array], Array] | None, shape: tuple[int, ...], *kinds: Kind
) -> Epilogue | None:
    """``activation(acc + operands)``: the end of a layer with a shortcut (He et al. 2015, eq. 1).

    Args:
        activation: a function of one array, elementwise; None adds and no more.
        shape: the output's.
        *kinds: those of the operands.

    Returns:
        The epilogue; None if the kernel lacks an operation that it takes.

    Raises:
        NotElementwiseError: it is not.
    """
    epilogue = compile_elementwise(_OfSum(activation), shape, *kinds)
    if epilogue is None:
        return None
    gate = Gate() if activation is None else gate_of(activation)
    return dataclasses.replace(epilogue, gate=gate)


def compile_elementwise(
    function: Plain, shape: tuple[int, ...], *kinds: Kind, gate: Gate | None = None
) -> Epilogue | None:
    """Compiles a function of an array, and of operands, whose result is an array like the first.

    Args:
        function: ``function(acc, *operands)``, of float32; operands have the rank of ``acc``, as
            :func:`spread` gives it.
        shape: that of ``acc``, ``(B, ..., C)``.
        *kinds: those of the operands.
        gate: as :class:`Epilogue` has it.

    Returns:
        The epilogue; None if the kernel lacks an operation that it takes.

    Raises:
        NotElementwiseError: the function looks beyond one element, or changes shape or dtype.

    Example:
        >>> compile_elementwise(jax.nn.silu, (8, 56, 56, 64)).program.code
        (('logistic', (0,)), ('mul', (0, 1)))
    """
    sizes = {"channel": (*(1 for _ in shape[1:]), shape[-1]), "tensor": shape}
    sizes["image"] = (shape[0], *sizes["channel"][1:])
    arrays = (jax.ShapeDtypeStruct(size, jnp.float32) for size in (shape, *map(sizes.get, kinds)))
    return _compiled(trace_elementwise(function, *arrays), function, kinds, gate)


def _compiled(
    jaxpr: ClosedJaxpr, function: Plain, kinds: Sequence[Kind], gate: Gate | None
) -> Epilogue | None:
    builder = Builder()
    operands = [builder.operand(kind) for kind in kinds]
    (output,) = builder.inline(jaxpr, [builder.accumulator, *operands])
    return None if output is None else Epilogue(builder.build(output), function, gate)


_OPENED = Gate((("gt", 0.0),))

IDENTITY = Epilogue(Program(), _OfSum(None), Gate())
"""What ends at the accumulator."""

ADD = Epilogue(Program(("tensor",), (), (("add", (0, 1)),), (2,)), _OfSum(None), Gate())
"""What adds a tensor."""

RELU = Epilogue(Program((), (0,), (("max", (0, 1)),), (2,)), _OfSum(jax.nn.relu), _OPENED)
"""``jax.nn.relu``."""

ADD_RELU = Epilogue(
    Program(("tensor",), (0,), (("add", (0, 1)), ("max", (2, 3))), (4,)),
    _OfSum(jax.nn.relu),
    _OPENED,
)
"""What adds a tensor, then ``jax.nn.relu``."""
