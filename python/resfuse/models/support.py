"""Which Flax layers the op can express; any other is left to Flax.

Linen and NNX name the settings of their ``Conv`` and ``BatchNorm`` alike, so one table serves both.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen, nnx
from flax.linen.linear import canonicalize_padding
from flax.typing import PaddingLike
from jax import Array, lax

from resfuse.arguments import check_implementation

__all__ = ["Weights", "fusible"]


class Weights(NamedTuple):
    """The variables of a ``Conv`` and the ``BatchNorm`` after it; ``None`` where switched off."""

    kernel: Array
    conv_bias: Array | None
    scale: Array | None
    bias: Array | None
    mean: Array
    var: Array


def _is_none(value: Any) -> bool:
    return value is None


def _is_pair(kernel_size: Any) -> bool:
    return not isinstance(kernel_size, int) and len(kernel_size) == 2


def _is_undilated(dilation: Any) -> bool:
    return dilation in (None, 1, (1, 1), [1, 1])


def _is_zero_padding(padding: PaddingLike) -> bool:
    if isinstance(padding, str):
        return padding.upper() in ("SAME", "VALID")
    pads: Any = canonicalize_padding(padding, 2)
    return all(min(pair) >= 0 for pair in pads)


def _is_float32(dtype: Any) -> bool:
    return dtype is None or jnp.dtype(dtype) == jnp.float32


def _is_precision(precision: Any) -> bool:
    return precision is None or isinstance(precision, str | lax.Precision)


def _is_flax_promotion(promote_dtype: Any) -> bool:
    return promote_dtype in (None, linen.dtypes.promote_dtype, nnx.nn.dtypes.promote_dtype)


# Linen and NNX each lack a few of these: an absent setting reads as None.
_CONV: Mapping[str, Callable[[Any], bool]] = {
    "kernel_size": _is_pair,
    "padding": _is_zero_padding,
    "input_dilation": _is_undilated,
    "kernel_dilation": _is_undilated,
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
    checks = [(conv, (linen.Conv, nnx.Conv), _CONV)]
    if bn is not None:
        settings = {**_BATCH_NORM, **(_TRAINING if training else {})}
        checks.append((bn, (linen.BatchNorm, nnx.BatchNorm), settings))
    for module, types, table in checks:
        if type(module) not in types:
            return type(module).__name__
        for name, expressible in table.items():
            if not expressible(getattr(module, name, None)):
                return f"{type(module).__name__}.{name}"
    return None


def _unsupported_array(conv: Any, weights: Weights, x: Array, residual: Array | None) -> str | None:
    if x.ndim not in (3, 4) or weights.kernel.ndim != 4:
        return f"x of shape {x.shape} with a kernel of shape {weights.kernel.shape}"
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
