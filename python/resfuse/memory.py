"""Memory of NumPy's that JAX takes as it is."""

import math

import numpy as np

__all__ = ["empty"]

_ALIGNED = 64  # bytes: what XLA:CPU asks of a buffer; others it copies


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """As ``np.empty``, float32, and ``jax.device_put`` does not copy it."""
    size, spare = math.prod(shape), _ALIGNED // 4
    memory = np.empty(size + spare, np.float32)
    first = -memory.ctypes.data % _ALIGNED // 4
    return memory[first : first + size].reshape(shape)
