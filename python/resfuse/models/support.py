"""Which Flax layers the op can express; any other is left to Flax.

Linen and NNX name the settings of their ``Conv`` and ``BatchNorm`` alike, so one table serves both.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen, nnx
from jax import Array, lax

from resfuse.arguments import check_implementation
from resfuse.models.geometry import has_known_padding

__all__ = ["Weights", "fusible"]


class Weights(NamedTuple):
    """The variables of a convolution and the batch norm after it; ``None`` where there are none."""

    kernel: Array
    conv_bias: Array | None
    scale: Array | None
    bias: Array | None
    mean: Array | None
    var: Array | None


def _is_none(value: Any) -> bool:
    return value is None


def _has_kernel_dims(kernel_size: Any) -> bool:
    return isinstance(kernel_size, int) or len(kernel_size) in (1, 2, 3)


def _is_float32(dtype: Any) -> bool:
    return dtype is None or jnp.dtype(dtype) == jnp.float32


def _is_precision(precision: Any) -> bool:
    return precision is None or isinstance(precision, str | lax.Precision)


def _is_flax_promotion(promote_dtype: Any) -> bool:
    return promote_dtype in (None, linen.dtypes.promote_dtype, nnx.nn.dtypes.promote_dtype)


# Linen and NNX, and their transposed convolutions, each lack a few: an absent one reads as None.
_CONV: Mapping[str, Callable[[Any], bool]] = {
    "kernel_size": _has_kernel_dims,
    "mask": _is_none,
    "precision": _is_precision,
    "promote_dtype": _is_flax_promotion,
    "preferred_element_type": _is_none,
    "conv_general_dilated": lambda function: function in (None, lax.conv_general_dilated),
    "conv_general_dilated_cls": _is_none,
}
_BATCH_NORM: Mapping[str, Callable[[Any], bool]] = {
    "axis": lambda axis: axis == -1,
    "dtype": _is_float32,
    "promote_dtype": _is_flax_promotion,
    "force_float32_reductions": lambda force: force in (None, True),
}
_TRAINING: Mapping[str, Callable[[Any], bool]] = {"axis_name": _is_none, "use_fast_variance": bool}


def _unsupported_setting(conv: Any, bn: Any, training: bool) -> str | None:
    checks: list[tuple[Any, tuple[type, ...], Mapping[str, Callable[[Any], bool]]]]
    checks = [(conv, (linen.Conv, linen.ConvTranspose, nnx.Conv, nnx.ConvTranspose), _CONV)]
    if bn is not None:
        settings = {**_BATCH_NORM, **(_TRAINING if training else {})}
        checks.append((bn, (linen.BatchNorm, nnx.BatchNorm), settings))
    for module, types, table in checks:
        if type(module) not in types:
            return type(module).__name__
        for name, expressible in table.items():
            if not expressible(getattr(module, name, None)):
                return f"{type(module).__name__}.{name}"
    return None if has_known_padding(conv) else f"{type(conv).__name__}.padding"


def _unsupported_array(conv: Any, weights: Weights, x: Array, residual: Array | None) -> str | None:
    if weights.kernel.ndim - x.ndim not in (0, 1):
        return f"x of shape {x.shape} with a kernel of shape {weights.kernel.shape}"
    given = (array for array in (*weights, x, residual) if array is not None)
    if _is_float32(conv.dtype) and all(array.dtype == jnp.float32 for array in given):
        return None  # as all but always; to promote the dtypes takes JAX ten times as long
    conv_dtype = linen.dtypes.canonicalize_dtype(x, *weights[:2], dtype=conv.dtype)
    after = [array for array in (*weights[2:], residual) if array is not None]
    for dtype in (conv_dtype, jnp.result_type(jnp.float32, *after)):
        if jnp.dtype(dtype) != jnp.float32:
            return f"computation in {jnp.dtype(dtype)}"
    return None


def fusible(
    conv: Any,
    bn: Any,
    weights: Weights | None,
    x: Array,
    residual: Array | None,
    *,
    training: bool,
    implementation: str | None,
) -> bool:
    """Whether the op means what plain Flax means here; ``"ffi"`` raises if it does not.

    Without a ``bn`` the layer is the convolution alone.
    """
    if check_implementation(implementation) == "xla":
        return False
    reason = _unsupported_setting(conv, bn, training)
    if reason is None and weights is not None:
        reason = _unsupported_array(conv, weights, x, residual)
    if reason is not None and implementation == "ffi":
        raise ValueError(f"implementation='ffi' does not support {reason}; None runs plain Flax")
    return reason is None and weights is not None
