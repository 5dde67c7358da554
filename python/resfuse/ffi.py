"""The compiled extension: loading it, and the two calls that it serves.

The package works without it, on the reference; then :func:`unavailable_reason` says why. The type
of a call's result, which in JAX includes its sharding, is the type of the reference's.
"""

import functools
import importlib
import os
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from resfuse import reference
from resfuse.spec import ConvSpec

__all__ = [
    "API_VERSION",
    "available",
    "conv_affine",
    "conv_statistics",
    "fma_peak",
    "force_isa",
    "isa",
    "isas",
    "unavailable_reason",
]

_ENVIRONMENT = "RESFUSE_ISA"

_ext: ModuleType | None
_reason: str | None
try:
    _ext = importlib.import_module("resfuse._ext")
except ImportError as error:
    _ext, _reason = None, f"the extension does not load: {error}"
else:
    _reason = None
    for _target, _handler in _ext.registrations().items():
        jax.ffi.register_ffi_target(_target, _handler, platform="cpu")

API_VERSION: tuple[int, int] | None = _ext.ffi_version if _ext else None
"""The FFI version that the extension was compiled against, or None."""


def available() -> bool:
    """Whether the kernel is loaded."""
    return _ext is not None


def unavailable_reason() -> str | None:
    """Why the kernel is not loaded, in a sentence; None if it is."""
    return _reason


def isas() -> tuple[str, ...]:
    """The instruction sets that this machine can run the kernel on, best first."""
    return _ext.isas() if _ext else ()


def isa() -> str | None:
    """The instruction set in use; None without the extension."""
    return _ext.isa() if _ext else None


def force_isa(name: str) -> None:
    """Runs the kernel on the instruction set ``name`` from now on.

    Raises:
        ValueError: if this machine has none of that name.
    """
    if name not in isas():
        raise ValueError(f"{_ENVIRONMENT} must be one of {isas()} on this machine, got {name!r}")
    assert _ext is not None  # isas() is empty without it
    _ext.use_isa(name)


def fma_peak(seconds: float = 0.05) -> float:
    """Measures one thread's fused multiply-adds in the instruction set in use, in GFLOP/s."""
    if _ext is None:
        raise RuntimeError(_reason)
    return _ext.fma_peak(seconds)


def conv_affine(
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *residual: Array,
    spec: ConvSpec,
    relu: bool,
    kernel_shape: tuple[int, ...] | None = None,
) -> Array:
    """``relu(scale * conv(x, kernel) + shift + residual)``, on the kernel.

    Args:
        x: ``(B, H, W, Cin)``, float32 as all of them.
        kernel: ``(kh, kw, Cin/groups, Cout)``, or what :func:`pack` made of it.
        scale: ``(Cout,)``.
        shift: ``(Cout,)``.
        *residual: at most one array of the output's shape.
        spec: strides, padding and groups; a precision above the default forbids Winograd's
            algorithm, which the kernel takes where it pays.
        relu: whether to apply ReLU.
        kernel_shape: of the kernel, if it is packed.
    """

    def like(x: Array, kernel: Array, *rest: Array) -> Array:
        if kernel_shape is not None:
            kernel = jnp.broadcast_to(kernel.ravel()[0], kernel_shape)
        return reference.affine(x, kernel, *rest, spec=spec)

    operands = (x, kernel, scale, shift, *residual)
    call = jax.ffi.ffi_call("resfuse_conv_affine", jax.eval_shape(like, *operands))
    winograd = spec.precision in (None, jax.lax.Precision.DEFAULT)
    return call(*operands, relu=np.bool_(relu), winograd=np.bool_(winograd), **_attributes(spec))


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """``conv(x, kernel)`` with the mean and the biased variance of each of its channels."""
    out = jax.eval_shape(functools.partial(reference.conv_statistics, spec=spec), x, kernel)
    y, mean, var = jax.ffi.ffi_call("resfuse_conv_statistics", out)(x, kernel, **_attributes(spec))
    return y, mean, var


def _attributes(spec: ConvSpec) -> dict[str, Any]:
    return {
        "strides": np.array(spec.strides, np.int64),
        "padding": np.array(spec.padding, np.int64).ravel(),
        "groups": np.int64(spec.feature_group_count),
    }


if _ext and os.environ.get(_ENVIRONMENT):
    force_isa(os.environ[_ENVIRONMENT])
