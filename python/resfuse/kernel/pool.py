"""Pooling on the kernel: XLA's own ``reduce_window`` mostly runs one output at a time on a CPU."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from resfuse import reference
from resfuse.kernel import extension
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.purpose import Purpose, by_platform, purpose
from resfuse.spec import PaddingLike, Pads, dilated, flat_pixels, output_size, resolve_padding

__all__ = ["Operation", "Pooling", "cotangent", "max_pool", "pool", "pool_gradient", "pool_on_cpu"]

Operation = Literal["max", "sum"]

_MAX_EXTENT = 2**31  # of windows, strides, padding and dilation


@dataclasses.dataclass(frozen=True)
class Pooling:
    """What a pooling is, but for its array; all but the operation has an entry per dimension.

    Only "SAME" keeps its name where the padding depends on a symbolic size.
    """

    operation: Operation
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pads | Literal["SAME"]
    window_dilation: tuple[int, ...]

    @property
    def pixels(self) -> tuple[int, ...]:
        """The padding before and after each dimension."""
        return flat_pixels(self.padding)

    @property
    def is_countable(self) -> bool:
        """Whether its numbers are small enough for the kernel."""
        sizes = (*self.window, *self.strides, *self.window_dilation, *map(abs, self.pixels))
        return max(sizes) <= _MAX_EXTENT

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """How many windows there are along each dimension of an image of that size."""
        window = tuple(map(dilated, self.window, self.window_dilation))
        return output_size(size, window, self.strides, self.padding)

    def covers(self, size: Sequence[int]) -> bool:
        """Whether the only window is the whole image."""
        cut = any(self.pixels) or {*self.window_dilation} != {1}
        return not cut and self.window == tuple(size)

    def plain(self, x: Array) -> Array:
        """The reference's result."""
        of = {"max": reference.max_pool, "sum": reference.sum_pool}[self.operation]
        return of(x, self.window, self.strides, self.padding, self.window_dilation)


def max_pool(
    x: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: PaddingLike,
    implementation: str | None = None,
) -> Array:
    """The largest of each window; padding counts as minus infinity, and NaN is passed on.

    Args:
        x: ``(B, H, W, C)`` or ``(H, W, C)``. The kernel takes float32 on a CPU.
        window: ``(height, width)``, positive.
        strides: likewise.
        padding: ``"SAME"``, ``"VALID"`` or ``((top, bottom), (left, right))``, not negative.
        implementation: ``None`` (the kernel where it runs), or ``"xla"`` for the reference; for
            ``"ffi"`` it is the kernel too, where it runs.

    Returns:
        ``(B, Ho, Wo, C)`` or ``(Ho, Wo, C)``.
    """
    if x.ndim == len(window) + 1:
        return max_pool(x[None], window, strides, padding, implementation)[0]
    pads = resolve_padding(padding, x.shape[1:-1], window, strides)
    pooling = Pooling("max", window, strides, pads, (1,) * len(window))
    return pooling.plain(x) if implementation == "xla" else pool(pooling, x)


def pool(pooling: Pooling, x: Array) -> Array:
    """Reduces each window of ``(B, ..., C)``: on the kernel, where it runs and supports that."""
    if purpose() is Purpose.READING or not _supported(x, pooling):
        return pooling.plain(x)

    def on_cpu(x: Array) -> Array:
        return bare(pool_on_cpu)(pooling, refuse_forward_mode(x))

    return by_platform(x, cpu=on_cpu, default=pooling.plain)


def cotangent(pooling: Pooling, x: Array, d_y: Array) -> Array:
    """The cotangent of ``x`` in :func:`pool` for that of its result."""
    plain = functools.partial(_plain_cotangent, pooling)
    if not _supported(x, pooling):
        return plain(x, d_y)
    on_cpu = functools.partial(bare(pool_gradient), pooling)
    return by_platform(x, d_y, cpu=on_cpu, default=plain)


def _plain_cotangent(pooling: Pooling, x: Array, d_y: Array) -> Array:
    d_x: Array = jax.vjp(pooling.plain, x)[1](d_y)[0]
    return d_x


def _supported(x: Array, pooling: Pooling) -> bool:
    return (
        extension.available()
        and x.dtype == jnp.float32
        and 0 not in x.shape[1:]
        and pooling.padding != "SAME"
        and pooling.is_countable
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def pool_on_cpu(pooling: Pooling, x: Array) -> Array:
    """As :func:`pool`, and always the kernel."""
    before, after = _axes(pooling)
    call = Call(
        f"{pooling.operation}_pool",
        f"{before} -> {after}",
        sizes=dict(zip(after.split()[1:-1], pooling.output_size(x.shape[1:-1]), strict=True)),
        attributes=_attributes(pooling),
    )
    return call(x)[0]


def _axes(pooling: Pooling) -> tuple[str, str]:
    """The axes of an image and of its pooled image, as a call's rule names them."""
    dimensions = len(pooling.window)
    before, after = (" ".join(["n", *names[-dimensions:], "c"]) for names in ("dhw", "zyx"))
    return before, after


def _attributes(pooling: Pooling) -> dict[str, Attribute]:
    return {
        "window": pooling.window,
        "strides": pooling.strides,
        "padding": pooling.pixels,
        "window_dilation": pooling.window_dilation,
    }


def _forward(pooling: Pooling, x: Array) -> tuple[Array, Array]:
    return pool_on_cpu(pooling, x), x


def _backward(pooling: Pooling, x: Array, d_y: Array) -> tuple[Array]:
    if pooling.operation == "sum" and pooling.covers(x.shape[1:-1]):
        # XLA broadcasts inside of what reads the cotangent.
        return (varying_like(jnp.broadcast_to(d_y, x.shape), x),)
    return (varying_like(pool_gradient(pooling, x, d_y), x),)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def pool_gradient(pooling: Pooling, x: Array, d_y: Array) -> Array:
    """The cotangent of ``x``.

    That of each output goes to all of its window, or for a maximum to the first of the largest.
    """
    before, after = _axes(pooling)
    name, attributes = f"{pooling.operation}_pool_gradient", _attributes(pooling)
    if pooling.operation == "max":
        rule = f"{before}, {after} -> {before}"
        return Call(name, rule, attributes=attributes)(x, d_y)[0]
    sizes = dict(zip(before.split()[1:-1], x.shape[1:-1], strict=True))
    return Call(name, f"{after} -> {before}", sizes=sizes, attributes=attributes)(d_y)[0]


def _gradient_backward(pooling: Pooling, saved: tuple[Array, Array], d_x: Array) -> Any:
    return jax.vjp(functools.partial(_plain_cotangent, pooling), *saved)[1](d_x)


pool_on_cpu.defvjp(_forward, _backward)
pool_gradient.defvjp(lambda *args: (pool_gradient(*args), args[1:]), _gradient_backward)
