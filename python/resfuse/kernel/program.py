"""A program of the kernel's: straight-line code on vectors, which ends a convolution.

Its registers are numbered. 0 is the accumulator after scale and shift; then come the operands, the
constants, and each instruction's result. Masks are numbers like all others: 1 for true, 0 for
false.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from resfuse.kernel import extension
from resfuse.kernel.call import Attribute

__all__ = [
    "COMMUTATIVE",
    "MAX_INSTRUCTIONS",
    "MAX_OPERANDS",
    "OF_MASKS",
    "Instruction",
    "Kind",
    "Program",
    "Register",
]

Kind = Literal["channel", "image", "tensor"]
"""What an operand has a number for: each channel ``(C,)``, each image and channel ``(B, C)``, or
each number of the output ``(B, ..., C)``."""

Register = int
Instruction = tuple[str, tuple[Register, ...]]

# As the extension's limits, csrc/conv/program.h.
MAX_OPERANDS = 8
MAX_INSTRUCTIONS = 48
COMMUTATIVE = ("add", "mul", "max", "min", "eq", "ne", "and", "or", "xor")
"""The instructions whose operands may change places."""

OF_MASKS = ("and", "or", "not", "xor")
"""The instructions that take and return masks."""


@dataclasses.dataclass(frozen=True)
class Program:
    """Straight-line code; called, it computes in plain JAX what the kernel does with it.

    Its values are those of what it was made from; its derivatives need not be where two cases meet.

    Attributes:
        operands: the kind of each.
        constants: each one's bits as a float32, of which 0 and -0 differ.
        code: for each instruction the name of the JAX primitive, and the registers that it takes.
        outputs: the registers that are returned, each of the output's shape.
    """

    operands: tuple[Kind, ...] = ()
    constants: tuple[int, ...] = ()
    code: tuple[Instruction, ...] = ()
    outputs: tuple[Register, ...] = (0,)

    def __call__(self, acc: Array, *operands: Array) -> tuple[Array, ...]:
        """The outputs; operands have axes of size 1 for what they have no numbers for."""
        numbers = (jnp.asarray(number, acc.dtype) for number in self.numbers)
        registers: list[Any] = [acc, *operands, *numbers]
        for name, taken in self.code:
            registers.append(_run(name, [registers[index] for index in taken]))
        return tuple(
            jnp.broadcast_to(registers[index], acc.shape).astype(acc.dtype)
            for index in self.outputs
        )

    def rule(self, y: str) -> list[str]:
        """The factors of its operands; ``y`` are the output's, as in ``n y x o``."""
        image, *_, channel = y.split()
        factors: dict[Kind, str] = {"channel": channel, "image": f"{image} {channel}", "tensor": y}
        return [factors[kind] for kind in self.operands]

    @property
    def numbers(self) -> Any:
        """The constants as a float32 array."""
        return np.array(self.constants, np.uint32).view(np.float32)

    @functools.cached_property
    def attributes(self) -> dict[str, Attribute]:
        """The program as the handlers take it: instructions by their numbers in the extension."""
        number = {name: index for index, name in enumerate(extension.operations())}
        code = [(number[name], *registers) for name, registers in self.code]
        return {
            "code": tuple(index for instruction in code for index in instruction),
            "constants": self.constants,
            "returned": self.outputs,
        }


def _run(name: str, operands: list[Any]) -> Any:
    """One instruction in plain JAX, whose masks are of another type than its numbers."""
    if name == "select_n":
        mask, *cases = operands
        return jnp.where(mask, *_numbers(cases[::-1]))
    function = _FUNCTIONS.get(name) or getattr(lax, f"{name}_p").bind
    operands = operands if name in OF_MASKS else _numbers(operands)
    return function(*_spread(operands))


def _numbers(operands: Sequence[Any]) -> list[Any]:
    return [x.astype(jnp.float32) if x.dtype == jnp.bool_ else x for x in operands]


def _spread(operands: Sequence[Any]) -> Sequence[Any]:
    return jnp.broadcast_arrays(*operands) if len(operands) > 1 else operands


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": jnp.abs,
    "and": jnp.logical_and,
    "or": jnp.logical_or,
    "not": jnp.logical_not,
    "xor": jnp.logical_xor,
    "clamp": lambda low, x, high: lax.min(lax.max(x, low), high),
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "log": jnp.log,
    "logistic": lax.logistic,
    "tanh": lax.tanh,
    "sqrt": lax.sqrt,
    "rsqrt": lax.rsqrt,
    "round_even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "round_away": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
}
