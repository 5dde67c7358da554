"""From the equations of a jaxpr to a program of the kernel's."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from resfuse import jax_compat
from resfuse.jax_compat import ClosedJaxpr, JaxprEqn, Literal
from resfuse.kernel.program import (
    COMMUTATIVE,
    MAX_INSTRUCTIONS,
    MAX_OPERANDS,
    OF_MASKS,
    Instruction,
    Kind,
    Program,
    Register,
)
from resfuse.kernel.rules import CALLS, COMPARISONS, PLAIN, RULES

__all__ = ["Builder"]

_DTYPES = {np.dtype(np.float32), np.dtype(np.bool_)}
_SOURCES = ("accumulator", "operand", "constant")


class Builder:
    """Turns equations into a :class:`Program`, one after the other.

    The registers that it returns are its own: :meth:`build` numbers them. What is computed twice
    has one register; what the outputs do not need has none in the end.

    Example:
        >>> builder = Builder()
        >>> gate = builder.apply("logistic", {}, [builder.accumulator])
        >>> program = builder.build(builder.apply("mul", {}, [builder.accumulator, gate]))
    """

    accumulator: Register = 0

    def __init__(self) -> None:
        self._entries: list[Instruction] = [("accumulator", ())]
        self._operands: dict[Register, Kind] = {}
        self._constants: dict[Register, float] = {}
        self._masks: set[Register] = set()

    def operand(self, kind: Kind) -> Register | None:
        """A further operand, in the order of these calls; None if there is no room."""
        if len(self._operands) == MAX_OPERANDS:
            return None
        register = self._add("operand", len(self._operands))
        self._operands[register] = kind
        return register

    def constant(self, number: Any) -> Register:
        """A number, rounded to float32; a boolean is a mask."""
        value = np.asarray(number).reshape(())
        with np.errstate(over="ignore"):
            rounded = value.astype(np.float32)
        # A mask is another constant than the number that it is.
        register = self._add("constant", int(rounded.view(np.uint32)), int(value.dtype == bool))
        self._constants[register] = float(rounded)
        if value.dtype == bool:
            self._masks.add(register)
        return register

    def apply(
        self, name: str, params: Mapping[str, Any], registers: Sequence[Register]
    ) -> Register | None:
        """The result of a JAX primitive on arrays of float32 or truth values.

        Args:
            name: of the primitive. Of calls (``jit``, ``custom_jvp_call``) the function is inlined.
            params: of its equation.
            registers: of its operands.

        Returns:
            Its register; None if the kernel has no such operation, or the program no more room.
        """
        rule = RULES.get(name)
        if rule is not None:
            return rule(self, params, *registers)
        return self.instruct(name, *registers) if name in PLAIN else None

    def instruct(self, name: str, *registers: Register) -> Register | None:
        """The result of an instruction; None if the program is full."""
        if (name, registers) not in self._entries and self._is_full:
            return None
        register = self._add(name, *registers)
        if name in COMPARISONS or name in OF_MASKS:
            self._masks.add(register)
        return register

    def inline(
        self, function: ClosedJaxpr, registers: Sequence[Register | None]
    ) -> list[Register | None]:
        """The results of a function, equation by equation; each None as for :meth:`apply`."""
        jaxpr = function.jaxpr
        known: dict[Any, Register | None] = dict(zip(jaxpr.invars, registers, strict=True))
        for variable, array in zip(jaxpr.constvars, function.consts, strict=True):
            is_number = np.size(array) == 1 and not isinstance(array, jax.core.Tracer)
            known[variable] = self.constant(array) if is_number else None

        def read(atom: Any) -> Register | None:
            return self.constant(atom.val) if isinstance(atom, Literal) else known[atom]

        for eqn in jaxpr.eqns:
            results = self._results(eqn, [read(atom) for atom in eqn.invars])
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _results(
        self, eqn: JaxprEqn, registers: Sequence[Register | None]
    ) -> Sequence[Register | None]:
        name = eqn.primitive.name
        if name in CALLS:
            return self.inline(jax_compat.function_of(eqn.params), registers)
        taken = [register for register in registers if register is not None]
        types = {v.aval.dtype for v in eqn.outvars}  # type: ignore[attr-defined]
        if len(eqn.outvars) != 1 or len(taken) < len(registers) or not types <= _DTYPES:
            return [None] * len(eqn.outvars)
        return [self.apply(name, eqn.params, taken)]

    def number(self, register: Register) -> float | None:
        """The constant that the register is, if it is one."""
        return self._constants.get(register)

    def is_scalar(self, register: Register) -> bool:
        """Whether it follows from constants alone."""
        name, taken = self._entries[register]
        return name == "constant" or (name not in _SOURCES and all(map(self.is_scalar, taken)))

    def is_bound(self, register: Register) -> bool:
        """Whether it is a constant that other numbers are above or below."""
        return not np.isnan(self._constants.get(register, np.nan))

    def at_least(self, register: Register) -> tuple[Register | None, Register]:
        """The constant and the value of which the register is the maximum, if it is one."""
        name, taken = self._entries[register]
        for low, value in (taken, taken[::-1]) if name == "max" else ():
            if self.is_bound(low):
                return low, value
        return None, register

    def is_mask(self, register: Register) -> bool:
        """Whether it holds truth values."""
        return register in self._masks

    def choose(self, mask: Register, *cases: Register) -> Register | None:
        """``select_n`` of two cases; of masks it is a mask."""
        register = self.instruct("select_n", mask, *cases)
        if register is not None and all(map(self.is_mask, cases)):
            self._masks.add(register)
        return register

    def build(self, *outputs: Register) -> Program:
        """The program that returns these registers; of equal ones there is one form."""
        needed = self._needed(outputs)
        constants = [r for r in needed if self._entries[r][0] == "constant"]
        constants.sort(key=self._entries.__getitem__)
        results = [r for r in needed if self._entries[r][0] not in _SOURCES]
        order = [self.accumulator, *self._operands, *constants, *results]
        number = {register: index for index, register in enumerate(order)}
        code = (self._entries[register] for register in results)
        return Program(
            tuple(self._operands.values()),
            tuple(self._entries[register][1][0] for register in constants),
            tuple((name, _ordered(name, [number[r] for r in taken])) for name, taken in code),
            tuple(number[register] for register in outputs),
        )

    @property
    def _is_full(self) -> bool:
        return sum(name not in _SOURCES for name, _ in self._entries) == MAX_INSTRUCTIONS

    def _add(self, name: str, *taken: int) -> Register:
        entry = name, taken
        if entry in self._entries:
            return self._entries.index(entry)
        self._entries.append(entry)
        return len(self._entries) - 1

    def _needed(self, outputs: Sequence[Register]) -> list[Register]:
        """What the outputs follow from, in order."""
        needed = set(outputs)
        for register in reversed(range(len(self._entries))):
            name, taken = self._entries[register]
            if register in needed and name not in _SOURCES:
                needed.update(taken)
        return sorted(needed)


def _ordered(name: str, registers: list[Register]) -> tuple[Register, ...]:
    return tuple(sorted(registers) if name in COMMUTATIVE else registers)
