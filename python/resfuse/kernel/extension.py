"""The compiled extension: loading it, and the calls that it serves.

The package works without it, on the reference; then :func:`unavailable_reason` says why. The type
of a call's result, which in JAX includes its sharding, is the type of the reference's.
"""

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable
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
    "TARGETS",
    "algorithm",
    "attributes",
    "available",
    "call",
    "conv_affine",
    "conv_statistics",
    "fma_peak",
    "force_algorithm",
    "force_isa",
    "isa",
    "isas",
    "max_pool",
    "pack",
    "unavailable_reason",
]

_ISA = "RESFUSE_ISA"
_ALGORITHM = "RESFUSE_ALGORITHM"
_ALGORITHMS = ("fastest", "direct", "winograd")

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

TARGETS: tuple[str, ...] = tuple(_ext.registrations()) if _ext else ()
"""The names of the calls, as ``jax.export`` wants them."""

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
        raise ValueError(f"{_ISA} must be one of {isas()} on this machine, got {name!r}")
    assert _ext is not None  # isas() is empty without it
    _ext.use_isa(name)


def force_algorithm(name: str) -> None:
    """Has calls take ``"direct"``, ``"winograd"`` wherever it applies, or again the ``"fastest"``.

    ``precision="highest"`` is direct all the same.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _ALGORITHMS:
        raise ValueError(f"{_ALGORITHM} must be one of {_ALGORITHMS}, got {name!r}")
    if _ext:
        _ext.use_algorithm(name)


def fma_peak(seconds: float = 0.05) -> float:
    """Measures one thread's fused multiply-adds in the instruction set in use, in GFLOP/s."""
    if _ext is None:
        raise RuntimeError(_reason)
    return _ext.fma_peak(seconds)


def call(name: str, out: Any, **options: Any) -> Callable[..., Any]:
    """The extension's call ``name`` with results like ``out``, as ``jax.ffi.ffi_call`` makes it."""
    return jax.ffi.ffi_call(f"resfuse_{name}", out, **options)


def conv_affine(
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *residual: Array,
    spec: ConvSpec,
    relu: bool,
    kernel_shape: tuple[int, ...] | None = None,
    in_place: bool = False,
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
        in_place: whether the output takes the residual's memory, which then need not be read and
            written apart. XLA copies a residual that is still needed.
    """

    def like(x: Array, kernel: Array, *rest: Array) -> Array:
        if kernel_shape is not None:
            kernel = jnp.broadcast_to(kernel.sum(), kernel_shape)
        return reference.affine(x, kernel, *rest, spec=spec)

    operands = (x, kernel, scale, shift, *residual)
    aliases = {len(operands) - 1: 0} if in_place and residual else {}
    out = jax.eval_shape(like, *operands)
    return call("conv_affine", out, input_output_aliases=aliases)(
        *operands,
        relu=np.bool_(relu),
        packed=np.array(kernel_shape or (), np.int64),
        **attributes(spec),
    )


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """``conv(x, kernel)`` with the mean and the biased variance of each of its channels."""
    out = jax.eval_shape(functools.partial(reference.conv_statistics, spec=spec), x, kernel)
    y, mean, var = call("conv_statistics", out)(x, kernel, **attributes(spec))
    return y, mean, var


def pack(kernel: Array, spec: ConvSpec) -> Array:
    """``kernel`` in the order in which the instruction set in use reads it.

    Args:
        kernel: ``(kh, kw, Cin/groups, Cout)``, float32.
        spec: says the groups.

    Returns:
        ``(panels, kh * kw, Cin/groups, channels of a panel)``, for :func:`conv_affine`. A machine
        without an instruction set that reads this shape refuses it.
    """
    shape = kernel.shape
    pixel = (1, 1, 1, shape[2] * spec.feature_group_count)
    pixel_spec = dataclasses.replace(spec, strides=(1, 1), padding=((shape[0], 0), (shape[1], 0)))
    _, packed_shape = _plan(pixel, shape, pixel_spec)
    out = jax.ShapeDtypeStruct(packed_shape, jnp.float32)
    return call("pack", out)(kernel, groups=np.int64(spec.feature_group_count))


def algorithm(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], spec: ConvSpec) -> str:
    """What the kernel takes for these shapes: "direct", "grouped" (narrow groups) or "winograd"."""
    return _plan(x_shape, kernel_shape, spec)[0]


def max_pool(
    x: Array,
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Array:
    """The largest of each window of ``(B, H, W, C)``; padding counts as minus infinity."""

    def like(x: Array) -> Array:
        return reference.max_pool(x, window, strides, padding)

    return call("max_pool", jax.eval_shape(like, x))(
        x,
        window=np.array(window, np.int64),
        strides=np.array(strides, np.int64),
        padding=np.array(padding, np.int64).ravel(),
    )


def _plan(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], spec: ConvSpec
) -> tuple[str, tuple[int, ...]]:
    if _ext is None:
        raise RuntimeError(_reason)
    padding = [pixels for pair in spec.padding for pixels in pair]
    name, shape = _ext.plan(
        x_shape, kernel_shape, spec.strides, padding, spec.feature_group_count,
        _may_take_winograd(spec),
    )  # fmt: skip
    return name, tuple(shape)


def _may_take_winograd(spec: ConvSpec) -> bool:
    return spec.precision in (None, jax.lax.Precision.DEFAULT)


def attributes(spec: ConvSpec) -> dict[str, Any]:
    """The static half of a convolution, as the calls take it."""
    return {
        "winograd": np.bool_(_may_take_winograd(spec)),
        "strides": np.array(spec.strides, np.int64),
        "padding": np.array(spec.padding, np.int64).ravel(),
        "groups": np.int64(spec.feature_group_count),
    }


if _ext and os.environ.get(_ISA):
    force_isa(os.environ[_ISA])
if os.environ.get(_ALGORITHM):
    force_algorithm(os.environ[_ALGORITHM])
