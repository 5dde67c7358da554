"""Which way a call takes: the kernel, or the reference."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from resfuse.kernel import extension
from resfuse.spec import ConvSpec

__all__ = ["check_implementation", "promote", "takes_kernel", "unsupported"]

_MAX_EXTENT = 2**31  # of strides and padding, in the kernel


def check_implementation(implementation: str | None) -> str | None:
    """Returns ``implementation`` if there is such a one."""
    if implementation not in (None, "ffi", "xla"):
        raise ValueError(f'implementation must be None, "ffi" or "xla", got {implementation!r}')
    return implementation


def promote(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Brings the arrays to their common inexact dtype, as Flax's ``promote_dtype`` does."""
    dtype = _common_dtype(arrays)
    return {name: None if array is None else array.astype(dtype) for name, array in arrays.items()}


def _common_dtype(arrays: Mapping[str, Any]) -> Any:
    dtype = jnp.result_type(*(array for array in arrays.values() if array is not None))
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def takes_kernel(implementation: str | None, arrays: Mapping[str, Any], spec: ConvSpec) -> bool:
    """Whether ``implementation`` means the kernel for these arguments.

    Raises:
        ValueError: the name is unknown, or ``"ffi"`` is asked for and cannot be had.
        TypeError: ``"ffi"`` is asked for with a dtype that the kernel does not take.
    """
    if check_implementation(implementation) == "xla":
        return False
    if implementation == "ffi":
        _insist(arrays, spec)
        return True
    return unsupported(arrays["x"], arrays["kernel"], _common_dtype(arrays), spec) is None


def _insist(arrays: Mapping[str, Any], spec: ConvSpec) -> None:
    for name, array in arrays.items():
        if array is not None and array.dtype != jnp.float32:
            raise TypeError(f'implementation="ffi" needs float32, got {name} of {array.dtype}')
    reason = unsupported(arrays["x"], arrays["kernel"], jnp.float32, spec) or _elsewhere(arrays)
    if reason:
        raise ValueError(f'implementation="ffi" cannot be had: {reason}')


def unsupported(x: Any, kernel: Any, dtype: Any, spec: ConvSpec) -> str | None:
    """Why the kernel cannot compute this in ``dtype``, or None; of the arrays the shape counts."""
    if not extension.available():
        return extension.unavailable_reason()
    if dtype != jnp.float32:
        return f"the kernel computes in float32, not in {dtype}"
    if 0 in x.shape[-3:] or math.prod(kernel.shape) == 0:
        return f"x of shape {x.shape} or kernel of shape {kernel.shape} is empty"
    if max(*spec.strides, *spec.padding[0], *spec.padding[1]) > _MAX_EXTENT:
        return f"strides={spec.strides} and padding={spec.padding} must be at most 2**31"
    return None


def _elsewhere(arrays: Mapping[str, Any]) -> str | None:
    """Why this would not run on a CPU, as far as can be told before it is compiled."""
    for name, array in arrays.items():
        if array is None or isinstance(array, jax.core.Tracer):
            continue
        platform = next(iter(array.devices())).platform
        if array.committed and platform != "cpu":
            return f"{name} is on {platform}, the kernel runs on a CPU"
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = getattr(default, "platform", default) or jax.default_backend()
    return None if platform == "cpu" else f"it would run on {platform}, the kernel runs on a CPU"
