"""Single arguments, checked at the edge and brought to one form.

The errors say which argument is wrong, what it was, and what was expected.
"""

import math
import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from resfuse.jax_compat import default_precision

__all__ = [
    "Activation",
    "PrecisionLike",
    "StridesLike",
    "as_activation",
    "as_array",
    "as_epsilon",
    "as_precision",
    "as_seed",
    "check_implementation",
    "common_dtype",
    "per_dimension",
    "positive_int",
]

Activation = Callable[[Array], Array]  # of each number by itself
StridesLike = int | Sequence[int]
PrecisionLike = str | lax.Precision | lax.DotAlgorithmPreset | None


def as_array(name: str, value: ArrayLike) -> Array:
    """``jnp.asarray`` of numbers, with the argument's name in the error."""
    try:
        array = value if isinstance(value, Array) else jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array, got {_told(value)}") from error
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
        raise TypeError(f"{name} must be an array of numbers, got {_told(value)}")
    return array


def _told(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ + ("" if dtype is None else f" of dtype {dtype}")


def common_dtype(*arrays: Array) -> Any:
    """``jnp.result_type``, which takes a while to find that all are of one dtype."""
    first, *others = {array.dtype for array in arrays}
    return jnp.result_type(*arrays) if others else first


def as_activation(activation: Activation | None) -> Activation | None:
    """A function that may be compared with others, or None."""
    if activation is None or (callable(activation) and isinstance(activation, Hashable)):
        return activation
    raise TypeError(f"activation must be a hashable function or None, got {activation!r}")


def as_epsilon(value: float) -> float:
    """A finite, non-negative float."""
    try:
        epsilon = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"epsilon must be a number, got {value!r}") from error
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"epsilon must be finite and at least 0, got {value!r}")
    return epsilon


def as_precision(precision: PrecisionLike) -> lax.Precision | lax.DotAlgorithmPreset | None:
    """Of ``jax.lax``; None is the default that is set."""
    if precision is None:
        return default_precision()
    if isinstance(precision, lax.Precision | lax.DotAlgorithmPreset):
        return precision
    try:
        return lax.Precision(precision)
    except ValueError as error:
        raise ValueError(
            f"precision must be None, 'default', 'high', 'highest' or a jax.lax.Precision, "
            f"got {precision!r}"
        ) from error


def check_implementation(implementation: str | None) -> str | None:
    """Returns ``implementation`` if there is such a one."""
    if implementation not in (None, "ffi", "xla"):
        raise ValueError(f'implementation must be None, "ffi" or "xla", got {implementation!r}')
    return implementation


def as_seed(value: int) -> int:
    """An integer that JAX and NumPy take alike."""
    seed = _integer("seed", value)
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, got {value!r}")
    return seed


def positive_int(name: str, value: int) -> int:
    """An integer from 1 on."""
    number = _integer(name, value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return number


def _integer(name: str, value: int) -> int:
    """Refuses ``True``, too, which counts as 1 and is meant for another argument."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer, got {value!r}")


def per_dimension(name: str, value: StridesLike, dims: int) -> tuple[int, ...]:
    """A positive integer for each of ``dims`` dimensions; one serves all."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if len(values) != dims or isinstance(value, str):
        raise ValueError(f"{name} must be an integer or {dims} of them, got {value!r}")
    return tuple(positive_int(name, each) for each in values)
