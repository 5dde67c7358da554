"""Polynomials in numbered variables: however a formula is written, it becomes the same one."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["Polynomial", "number", "variable"]

Monomial = tuple[tuple[int, int], ...]  # variables in order, each with its power, which is not 0

# Constants of a formula, such as 1 / n, are rounded to float32: that makes no difference.
_ROUNDING = 2.0**-23
# No batch norm has more, multiplied out.
_MOST_TERMS, _HIGHEST_POWER = 16, 4


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A sum of products of powers, which may be negative; ``terms`` has the coefficients."""

    terms: Mapping[Monomial, float]

    @property
    def variables(self) -> set[int]:
        """The variables that occur."""
        return {index for monomial in self.terms for index, _ in monomial}

    @property
    def short(self) -> bool:
        """Whether it may be part of a batch norm, and is not worth giving up for its length."""
        powers = (abs(power) for monomial in self.terms for _, power in monomial)
        return len(self.terms) <= _MOST_TERMS and max(powers, default=0) <= _HIGHEST_POWER

    def __add__(self, other: "Polynomial") -> "Polynomial":
        terms = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            terms[monomial] = terms.get(monomial, 0.0) + coefficient
        return _tidy(terms)

    def __mul__(self, other: "Polynomial") -> "Polynomial":
        terms: dict[Monomial, float] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                monomial = _times(left, right)
                terms[monomial] = terms.get(monomial, 0.0) + a * b
        return _tidy(terms)

    def __neg__(self) -> "Polynomial":
        return self * number(-1)

    def __sub__(self, other: "Polynomial") -> "Polynomial":
        return self + -other

    def reciprocal(self) -> "Polynomial | None":
        """The reciprocal of a single product; None for sums, and for 0."""
        if len(self.terms) != 1:
            return None
        ((monomial, coefficient),) = self.terms.items()
        return Polynomial({tuple((i, -power) for i, power in monomial): 1 / coefficient})

    def by_powers(self, index: int) -> dict[int, "Polynomial"]:
        """The polynomials that multiply the powers of a variable."""
        parts: dict[int, dict[Monomial, float]] = {}
        for monomial, coefficient in self.terms.items():
            rest = tuple(factor for factor in monomial if factor[0] != index)
            parts.setdefault(dict(monomial).get(index, 0), {})[rest] = coefficient
        return {power: Polynomial(terms) for power, terms in parts.items()}

    def evaluate(self, read: Callable[[int], Any]) -> Any:
        """Its value; ``read`` has those of the variables, arrays in float32."""
        return functools.reduce(operator.add, self._values(read))

    def _values(self, read: Callable[[int], Any]) -> Iterator[Any]:
        for monomial, coefficient in self.terms.items():
            value: Any = np.float32(coefficient)
            for index, power in monomial:
                for _ in range(abs(power)):
                    value = value * read(index) if power > 0 else value / read(index)
            yield value


def number(value: float) -> Polynomial:
    """A constant."""
    return _tidy({(): value})


def variable(index: int, power: int = 1) -> Polynomial:
    """A power of a variable, which is not 0."""
    return Polynomial({((index, power),): 1.0})


def _times(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for index, power in right:
        powers[index] = powers.get(index, 0) + power
    return tuple((index, power) for index, power in sorted(powers.items()) if power)


def _tidy(terms: dict[Monomial, float]) -> Polynomial:
    exact = {monomial: _whole(coefficient) for monomial, coefficient in terms.items()}
    return Polynomial({monomial: value for monomial, value in exact.items() if value})


def _whole(value: float) -> float:
    if not math.isfinite(value):
        return value
    return float(round(value)) if abs(value - round(value)) <= _ROUNDING * abs(value) else value
