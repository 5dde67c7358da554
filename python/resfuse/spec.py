"""What a convolution is, but for its arrays: checked against them once, padding in pixels."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Literal

import jax
import jax.export
from jax import Array, lax

from resfuse.arguments import (
    PrecisionLike,
    StridesLike,
    as_precision,
    per_dimension,
    positive_int,
)

__all__ = [
    "ConvSpec",
    "PaddingLike",
    "Pads",
    "check_arrays",
    "dilated",
    "flat_pixels",
    "make_spec",
    "output_size",
    "resolve_padding",
]

Pads = tuple[tuple[int, int], ...]  # of each spatial dimension, before and after
PaddingLike = str | Sequence[tuple[int, int]]


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
        return flat_pixels(self.padding)

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


def flat_pixels(padding: Pads | Literal["SAME"]) -> tuple[int, ...]:
    """Padding in a row, before and after each dimension."""
    if padding == "SAME":
        raise ValueError("the padding depends on a symbolic size")
    return tuple(pad for pair in padding for pad in pair)


def dilated(size: int, dilation: int) -> int:
    """The size with ``dilation - 1`` zeros between its elements; it may be symbolic."""
    return jax.core.max_dim((size - 1) * dilation + 1, 0) if dilation > 1 else size


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
    input_dilation: StridesLike = 1,
    kernel_dilation: StridesLike = 1,
) -> ConvSpec:
    """Checks the shapes of ``x`` and ``kernel`` and the static arguments against each other."""
    dims = _check_ranks(x, kernel)
    groups = _check_groups(x, kernel, feature_group_count)
    strides = per_dimension("strides", strides, dims)
    input_dilation = per_dimension("input_dilation", input_dilation, dims)
    kernel_dilation = per_dimension("kernel_dilation", kernel_dilation, dims)
    size = tuple(map(dilated, x.shape[-1 - dims : -1], input_dilation))
    window = tuple(map(dilated, kernel.shape[:-2], kernel_dilation))
    if isinstance(padding, str) and {*input_dilation} != {1}:  # of which XLA has no idea either
        raise ValueError(
            f"padding must be in pixels with input_dilation={input_dilation}, got {padding!r}"
        )
    if dims == 1 and isinstance(padding, str) and padding.upper() == "CAUSAL":
        padding = ((max(0, window[0] - 1), 0),)
    pads = resolve_padding(padding, size, window, strides, crop=True)
    return ConvSpec(strides, pads, input_dilation, kernel_dilation, groups, as_precision(precision))


_SIZES = "DHW"
_SIDES = ("(front, back)", "(top, bottom)", "(left, right)")


def _check_ranks(x: Array, kernel: Array) -> int:
    """The number of spatial dimensions."""
    dims = kernel.ndim - 2
    if dims not in (1, 2, 3):
        raise ValueError(
            "kernel must be ([[kd,] kh,] kw, Cin/groups, Cout), one to three dimensions and the "
            f"channels, got shape {kernel.shape}"
        )
    if x.ndim not in (dims + 1, dims + 2):
        shape = ", ".join((*_SIZES[-dims:], "Cin"))
        raise ValueError(
            f"x must be (B, {shape}) or ({shape}) with a kernel of shape {kernel.shape}, "
            f"got shape {x.shape}"
        )
    return dims


def _check_groups(x: Array, kernel: Array, feature_group_count: int) -> int:
    """The number of groups."""
    groups = positive_int("feature_group_count", feature_group_count)
    channels, (per_group, features) = x.shape[-1], kernel.shape[-2:]
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
    return groups


def check_arrays(
    spec: ConvSpec,
    x: Array,
    kernel: Array,
    residual: Array | None,
    **per_channel: Array | None,
) -> None:
    """Checks the arrays whose shapes follow from ``x`` and ``kernel``."""
    unbatched = x.ndim < kernel.ndim
    shape = spec.output_shape((1, *x.shape) if unbatched else x.shape, kernel.shape)
    for name, value in per_channel.items():
        if value is not None and value.shape != shape[-1:]:
            raise ValueError(
                f"{name} must have shape {shape[-1:]}, one value per output channel, "
                f"got {value.shape}"
            )
    expected = shape[1:] if unbatched else shape
    if residual is not None and residual.shape != expected:
        raise ValueError(
            f"residual must have the shape of the output, {expected}, got {residual.shape}"
        )


def resolve_padding(
    padding: PaddingLike,
    size: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    crop: bool = False,
) -> Pads | Literal["SAME"]:
    """Padding in pixels before and after each dimension; see :class:`ConvSpec` for "SAME".

    ``crop`` allows negative padding, down to where nothing is left of an image.
    """
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(_expected_padding(padding, len(size)))
        named = lax.padtype_to_pads(size, window, strides, padding.upper())
        if any(jax.export.is_symbolic_dim(pad) for pair in named for pad in pair):
            return "SAME"
        return tuple((int(before), int(after)) for before, after in named)
    try:
        pads = tuple((operator.index(before), operator.index(after)) for before, after in padding)
    except (TypeError, ValueError) as error:
        raise ValueError(_expected_padding(padding, len(size))) from error
    if len(pads) != len(size):
        raise ValueError(_expected_padding(padding, len(size)))
    _check_cropping(pads, size, crop)
    return pads


def _expected_padding(padding: PaddingLike, dims: int) -> str:
    names = "'SAME', 'VALID' or " if dims > 1 else "'SAME', 'VALID', 'CAUSAL' or "
    pairs = ", ".join(_SIDES[-dims:]) + "," * (dims == 1)
    return f"padding must be {names}({pairs}), got {padding!r}"


def _check_cropping(pads: Pads, size: Sequence[int], crop: bool) -> None:
    for extent, pair in zip(size, pads, strict=True):
        if min(pair) >= 0 or jax.export.is_symbolic_dim(extent):
            continue
        if not crop:
            raise ValueError(f"padding must not be negative, got {pads}")
        if extent + sum(pair) < 0:
            raise ValueError(f"padding must not take more than there is of {extent}, got {pads}")
