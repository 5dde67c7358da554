"""The compiled extension: loading it, asking it and setting it. Users know it as ``resfuse.ffi``.

The package works without it, on the reference; then :func:`unavailable_reason` says why.
"""

import dataclasses
import importlib
import itertools
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from resfuse.kernel.fold import fold_of
from resfuse.spec import ConvSpec

__all__ = [
    "API_VERSION",
    "TARGETS",
    "PackingTask",
    "algorithm",
    "available",
    "caches",
    "fma_peak",
    "force_algorithm",
    "force_isa",
    "is_cascade",
    "isa",
    "isas",
    "operations",
    "pack",
    "pack_now",
    "packed_type",
    "reverse_axes",
    "unavailable_reason",
]

_ISA = "RESFUSE_ISA"
_ALGORITHM = "RESFUSE_ALGORITHM"
_ALGORITHMS = ("fastest", "direct", "winograd")

PackingTask = tuple[np.ndarray, ConvSpec, np.ndarray]
"""A kernel, its spec, and memory for it as :func:`pack_now` packs it."""

_ext: ModuleType | None
_reason: str | None
try:
    _ext = importlib.import_module("resfuse._ext")
except ImportError as error:
    _ext, _reason = None, f"the extension does not load: {error}"
else:
    _reason = None
    for _target, _stages in _ext.registrations().items():
        jax.ffi.register_ffi_target(_target, _stages, platform="cpu")

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


def _loaded() -> ModuleType:
    """The extension, for what there is none of without it."""
    if _ext is None:
        raise RuntimeError(_reason)
    return _ext


def operations() -> tuple[str, ...]:
    """The operations of the kernel's programs, in the order of their numbers."""
    return _ext.operations() if _ext else ()


def isas() -> tuple[str, ...]:
    """The instruction sets that this machine can run the kernel on, best first."""
    return _ext.isas() if _ext else ()


def isa() -> str | None:
    """The instruction set in use; None without the extension."""
    return _ext.isa() if _ext else None


def caches() -> dict[str, int]:
    """The bytes of a core's caches that plans are made for, by ``"L1d"``, ``"L2"`` and ``"L3"``.

    Empty without the extension.
    """
    return dict(zip(("L1d", "L2", "L3"), _ext.machine(), strict=True)) if _ext else {}


def force_isa(name: str) -> None:
    """Runs the kernel on the instruction set ``name`` from now on.

    Raises:
        ValueError: if this machine has none of that name.
    """
    if name not in isas():
        raise ValueError(f"{_ISA} must be one of {isas()} on this machine, got {name!r}")
    _loaded().use_isa(name)


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
    return _loaded().fma_peak(seconds)


def pack(kernel: Array, spec: ConvSpec) -> Array:
    """``kernel`` in the order in which the instruction set in use reads it.

    Args:
        kernel: ``([[kd,] kh,] kw, Cin/groups, Cout)``, float32.
        spec: says the groups, and what the order of the taps depends on: dilations and padding.

    Returns:
        ``(panels, taps, Cin/groups, channels of a panel)``, with the pixels of the window for taps,
        which the kernel takes in place of ``kernel``. A machine without an instruction set that
        reads this shape refuses it.
    """
    native = jax.ffi.ffi_call("resfuse_pack", packed_type(kernel, spec))
    if fold := fold_of(spec, kernel.shape):
        kernel, spec = fold.kernel(kernel), fold.spec
    return native(
        kernel,
        image_dilation=np.array(spec.input_dilation, np.int64),
        window_dilation=np.array(spec.kernel_dilation, np.int64),
        groups=np.int64(spec.feature_group_count),
    )


def pack_now(tasks: Sequence[PackingTask]) -> None:
    """As :func:`pack`, on this thread and without a program of XLA's: for weights at hand.

    The memory is of the :func:`packed_type`; its shape says for which instruction set, whatever is
    in use by now. To be called back into Python for each may take longer than to pack.
    """
    _loaded().pack(list(itertools.starmap(_packing_task, tasks)))


def _packing_task(kernel: np.ndarray, spec: ConvSpec, packed: np.ndarray) -> Any:
    if fold := fold_of(spec, kernel.shape):
        kernel, spec = np.asarray(jax.jit(fold.kernel)(kernel)), fold.spec
    settings = spec.input_dilation, spec.kernel_dilation, spec.feature_group_count
    return np.ascontiguousarray(kernel), packed, *settings


def reverse_axes(arrays: Sequence[np.ndarray], copies: Sequence[np.ndarray]) -> None:
    """Copies each of ``arrays``, of three axes, to memory of the reversed shape: as its transpose.

    Raises:
        ValueError: if the shapes are others.
        TypeError: if they are not float32 in C order.
    """
    _loaded().reverse_axes(arrays, copies)


def packed_type(kernel: Any, spec: ConvSpec) -> jax.ShapeDtypeStruct:
    """That of what :func:`pack` returns."""
    if fold := fold_of(spec, kernel.shape):
        return packed_type(fold.type_of(kernel), fold.spec)
    sides = len(spec.strides)
    pixel = (1,) * (sides + 1) + (kernel.shape[-2] * spec.feature_group_count,)
    pixel_spec = dataclasses.replace(spec, strides=(1,) * sides, padding=((0, 0),) * sides)
    return jax.ShapeDtypeStruct(_plan(pixel, kernel.shape, pixel_spec)[1], jnp.float32)


def algorithm(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], spec: ConvSpec) -> str:
    """What the kernel takes for these shapes: "direct", "grouped" (narrow groups) or "winograd"."""
    return _plan(x_shape, kernel_shape, spec)[0]


def is_cascade(
    x_shape: tuple[int, ...], kernel_shapes: Sequence[tuple[int, ...]], specs: Sequence[ConvSpec]
) -> bool:
    """Whether convolutions, each of which reads what the one before wrote, may be one call.

    They are two-dimensional and direct, without dilation of the input, and every row of their
    outputs meets more than padding.
    """
    parts = [
        (kernel, spec.strides, spec.pixels, spec.input_dilation, spec.kernel_dilation,
         spec.feature_group_count, spec.allows_winograd)
        for kernel, spec in zip(kernel_shapes, specs, strict=True)
    ]  # fmt: skip
    return _loaded().cascade_plan(x_shape, parts) is not None


def _plan(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], spec: ConvSpec
) -> tuple[str, tuple[int, ...]]:
    name, shape = _loaded().plan(
        x_shape, kernel_shape, spec.strides, spec.pixels, spec.input_dilation, spec.kernel_dilation,
        spec.feature_group_count, spec.allows_winograd,
    )  # fmt: skip
    return name, tuple(shape)


def _obey(environment: Mapping[str, str]) -> None:
    """Forces what the environment's variables name."""
    if _ext and environment.get(_ISA):
        force_isa(environment[_ISA])
    if environment.get(_ALGORITHM):
        force_algorithm(environment[_ALGORITHM])


_obey(os.environ)
