"""What a call asks for: arguments checked once, at the edge, and brought to one form.

The errors say which argument is wrong, what it was, and what was expected.
"""

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Literal

import jax
import jax.export
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from resfuse.jax_compat import default_precision

__all__ = [
    "ConvSpec",
    "PaddingLike",
    "Pads",
    "PrecisionLike",
    "StridesLike",
    "as_array",
    "as_epsilon",
    "check_arrays",
    "check_implementation",
    "dilated",
    "make_spec",
    "output_size",
    "resolve_padding",
]

Pads = tuple[tuple[int, int], ...]  # of each spatial dimension, before and after
StridesLike = int | Sequence[int]
PaddingLike = str | Sequence[tuple[int, int]]
PrecisionLike = str | lax.Precision | lax.DotAlgorithmPreset | None


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """The static half of a convolution: hashable, with padding resolved to numbers of pixels.

    All have an entry for each spatial dimension, of which there may be one to three. Only "SAME"
    keeps its name where the numbers depend on a symbolic size.
    """

    strides: tuple[int, ...]
    padding: Pads | Literal["SAME"]
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]
    feature_group_count: int
    precision: lax.Precision | lax.DotAlgorithmPreset | None

    @property
    def pixels(self) -> tuple[int, ...]:
        """The padding before and after each dimension: of two, top, bottom, left and right."""
        if self.padding == "SAME":
            raise ValueError("the padding depends on a symbolic size")
        return tuple(pad for pair in self.padding for pad in pair)

    @property
    def allows_winograd(self) -> bool:
        """Whether the precision leaves Winograd's algorithm to the kernel."""
        return self.precision in (None, lax.Precision.DEFAULT)

    def output_shape(self, x: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """``(B, ..., Cout)`` for ``x`` of ``(B, ..., Cin)`` and a kernel with channels last."""
        size = map(dilated, x[1:-1], self.input_dilation)
        window = map(dilated, kernel[:-2], self.kernel_dilation)
        return (x[0], *output_size(tuple(size), tuple(window), self.strides, self.padding),
                kernel[-1])  # fmt: skip


def dilated(size: int, dilation: int) -> int:
    """The size with ``dilation - 1`` zeros between its elements; it may be symbolic."""
    return (size - 1) * dilation + 1 if dilation > 1 else size


def output_size(
    size: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pads | Literal["SAME"],
) -> tuple[int, ...]:
    """How many windows fit along each dimension; sizes may be those of ``jax.export``, symbolic."""
    if padding == "SAME":  # as many as strides begin inside
        return tuple(-(-extent // stride) for extent, stride in zip(size, strides, strict=True))
    return tuple(
        jax.core.max_dim((extent + sum(pads) - taps) // stride + 1, 0)
        for extent, pads, taps, stride in zip(size, padding, window, strides, strict=True)
    )


def make_spec(
    x: Array,
    kernel: Array,
    *,
    strides: StridesLike,
    padding: PaddingLike,
    feature_group_count: int,
    precision: PrecisionLike,
) -> ConvSpec:
    """Checks the shapes of ``x`` and ``kernel`` and the static arguments against each other."""
    if x.ndim not in (3, 4):
        raise ValueError(f"x must be (B, H, W, Cin) or (H, W, Cin), got shape {x.shape}")
    if kernel.ndim != 4:
        raise ValueError(f"kernel must be (kh, kw, Cin/groups, Cout), got shape {kernel.shape}")
    groups = _positive_int("feature_group_count", feature_group_count)
    channels, per_group, features = x.shape[-1], kernel.shape[2], kernel.shape[3]
    if channels != per_group * groups:
        raise ValueError(
            f"kernel of shape {kernel.shape} with feature_group_count={groups} expects "
            f"{per_group * groups} input channels, got x with {channels} (shape {x.shape})"
        )
    if features % groups:
        raise ValueError(
            f"kernel's {features} output channels (shape {kernel.shape}) must be a multiple of "
            f"feature_group_count={groups}"
        )
    pair = _strides(strides)
    pads = resolve_padding(padding, x.shape[-3:-1], kernel.shape[:2], pair)
    return ConvSpec(pair, pads, (1, 1), (1, 1), groups, _precision(precision))


def check_arrays(
    spec: ConvSpec,
    x: Array,
    kernel: Array,
    residual: Array | None,
    **per_channel: Array | None,
) -> None:
    """Checks the arrays whose shapes follow from ``x`` and ``kernel``."""
    batched = x.shape if x.ndim == 4 else (1, *x.shape)
    shape = spec.output_shape(batched, kernel.shape)
    for name, value in per_channel.items():
        if value is not None and value.shape != shape[-1:]:
            raise ValueError(
                f"{name} must have shape {shape[-1:]}, one value per output channel, "
                f"got {value.shape}"
            )
    expected = shape if x.ndim == 4 else shape[1:]
    if residual is not None and residual.shape != expected:
        raise ValueError(
            f"residual must have the shape of the output, {expected}, got {residual.shape}"
        )


def as_array(name: str, value: ArrayLike) -> Array:
    """``jnp.asarray`` of numbers, with the argument's name in the error."""
    dtype = getattr(value, "dtype", None)
    got = type(value).__name__ + ("" if dtype is None else f" of dtype {dtype}")
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array, got {got}") from error
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
        raise TypeError(f"{name} must be an array of numbers, got {got}")
    return array


def check_implementation(implementation: str | None) -> str | None:
    """Returns ``implementation`` if there is such a one."""
    if implementation not in (None, "ffi", "xla"):
        raise ValueError(f'implementation must be None, "ffi" or "xla", got {implementation!r}')
    return implementation


def as_epsilon(value: float) -> float:
    """A finite, non-negative float."""
    try:
        epsilon = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"epsilon must be a number, got {value!r}") from error
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"epsilon must be finite and at least 0, got {value!r}")
    return epsilon


def _positive_int(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, got {value!r}") from error
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return number


def _strides(strides: StridesLike) -> tuple[int, int]:
    pair = tuple(strides) if isinstance(strides, Sequence) else (strides, strides)
    if len(pair) != 2 or isinstance(strides, str):
        raise ValueError(f"strides must be an integer or a pair of them, got {strides!r}")
    return _positive_int("strides", pair[0]), _positive_int("strides", pair[1])


def resolve_padding(
    padding: PaddingLike, size: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> Pads | Literal["SAME"]:
    """Padding in pixels, ``((top, bottom), (left, right))``; see :class:`ConvSpec` for "SAME"."""
    expected = f"padding must be 'SAME', 'VALID' or ((top, bottom), (left, right)), got {padding!r}"
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(expected)
        (top, bottom), (left, right) = lax.padtype_to_pads(size, window, strides, padding.upper())
        if any(map(jax.export.is_symbolic_dim, (top, bottom, left, right))):
            return "SAME"
        return (int(top), int(bottom)), (int(left), int(right))
    try:
        (top, bottom), (left, right) = (map(operator.index, pair) for pair in padding)
    except (TypeError, ValueError) as error:
        raise ValueError(expected) from error
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"padding must not be negative, got {padding!r}")
    return (top, bottom), (left, right)


def _precision(precision: PrecisionLike) -> lax.Precision | lax.DotAlgorithmPreset | None:
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
