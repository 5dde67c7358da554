"""What a function closes over, taken at the first call for a shape, as ``jax.jit`` takes it."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.sharding import AxisType

from resfuse.fusion.graph import Value

__all__ = ["Captured", "as_argument", "is_explicit", "is_small"]

# Bytes. A call takes one to two microseconds for each argument, a fifteenth of MobileNetV2's time
# on one image; nothing for what is in the program, which then holds a copy.
_LEAST_ARGUMENT = 64 << 10


class Captured:
    """The arrays of one fused function, shared by its programs.

    They are its own: changes in place, deletion and donation of the originals come too late. What
    is a JAX array on the CPU shares its memory; NumPy arrays are copied, and known by their
    contents, so that a later program takes what has changed since. Of those that a program takes
    :func:`resfuse.fusion.prepare.array_of` makes device arrays, which are free to go where the
    arguments are, wherever the originals were committed to; most are only folded or packed.
    """

    def __init__(self) -> None:
        self._arrays: dict[Any, tuple[Any, np.ndarray]] = {}

    def take(self, values: Iterable[Value]) -> None:
        """Puts captured arrays in place of those of ``values``, as far as that is possible."""
        taken = [v for v in values if v.is_constant and as_argument(v) and not is_explicit(v)]
        keys = [_key(value.array) for value in taken]
        pairs = zip(keys, taken, strict=True)
        missing = {key: value for key, value in pairs if key not in self._arrays}
        with jax.ensure_compile_time_eval():
            for key, value in missing.items():
                # With the array itself, for as long as this lives, its id is nobody else's.
                self._arrays[key] = value.array, _own(value)
        for key, value in zip(keys, taken, strict=True):
            value.array = self._arrays[key][1]


def as_argument(value: Value) -> bool:
    """Whether a program can take the value as an argument: not keys, and nothing without bits.

    Those stay in the program, as in any that JAX compiles.
    """
    dtype = value.aval.dtype
    return not jnp.issubdtype(dtype, jax.dtypes.extended) and dtype != jax.dtypes.float0


def is_small(aval: ShapedArray) -> bool:
    """Whether an array of this type is cheaper in the program than as an argument of each call."""
    return bool(aval.size * aval.dtype.itemsize < _LEAST_ARGUMENT)


def is_explicit(value: Value) -> bool:
    """Whether its sharding is part of its type, and of those of all that is computed from it."""
    return AxisType.Explicit in value.aval.sharding.mesh.axis_types


def _own(value: Value) -> np.ndarray:
    """In memory that JAX takes as it is."""
    array, dtype = value.array, value.aval.dtype
    if not isinstance(array, jax.Array):
        array = jax.device_put(np.array(array, dtype))
    return np.asarray(array).astype(dtype, copy=False)


def _key(array: Any) -> Any:
    if isinstance(array, jax.Array):
        return id(array)
    # As bytes, because NumPy has no buffers of types that it does not know, such as bfloat16.
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return array.dtype, array.shape, hashlib.sha256(content).digest()
