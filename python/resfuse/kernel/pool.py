"""Max pooling on the kernel: XLA's own ``reduce_window`` runs one output at a time on a CPU."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse import reference
from resfuse.kernel import extension
from resfuse.kernel.call import Call
from resfuse.kernel.derivatives import refuse_forward_mode, varying_like
from resfuse.spec import PaddingLike, Pads, output_size, resolve_padding

__all__ = ["MAX_EXTENT", "max_pool", "pool", "pool_gradient"]

Pair = tuple[int, int]

MAX_EXTENT = 2**31  # of windows, strides and padding


def max_pool(
    x: Array,
    window: Pair,
    strides: Pair,
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
    if x.ndim == 3:
        return max_pool(x[None], window, strides, padding, implementation)[0]
    pads = resolve_padding(padding, x.shape[1:3], window, strides)
    plain = functools.partial(reference.max_pool, window=window, strides=strides, padding=pads)
    if implementation == "xla" or pads == "SAME" or not _supported(x, window, strides, *pads):
        return plain(x)

    def on_cpu(x: Array) -> Array:
        return pool(window, strides, pads, refuse_forward_mode(x))

    return lax.platform_dependent(x, cpu=on_cpu, default=plain)


def _supported(x: Array, *geometry: Pair) -> bool:
    return (
        extension.available()
        and x.dtype == jnp.float32
        and 0 not in x.shape[1:]
        and max(map(max, geometry)) <= MAX_EXTENT
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def pool(window: Pair, strides: Pair, padding: Pads, x: Array) -> Array:
    """As :func:`max_pool`, of ``(B, H, W, C)`` and always the kernel."""
    height, width = output_size(x.shape[1:3], window, strides, padding)
    call = Call(
        "max_pool",
        "n h w c -> n y x c",
        sizes={"y": height, "x": width},
        attributes=_attributes(window, strides, padding),
    )
    return call(x)[0]


def _attributes(window: Pair, strides: Pair, padding: Pads) -> dict[str, tuple[int, ...]]:
    return {"window": window, "strides": strides, "padding": (*padding[0], *padding[1])}


def _forward(window: Pair, strides: Pair, padding: Pads, x: Array) -> tuple[Array, Array]:
    return pool(window, strides, padding, x), x


def _backward(window: Pair, strides: Pair, padding: Pads, x: Array, d_y: Array) -> tuple[Array]:
    return (varying_like(pool_gradient(window, strides, padding, x, d_y), x),)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def pool_gradient(window: Pair, strides: Pair, padding: Pads, x: Array, d_y: Array) -> Array:
    """The cotangent of ``x``: that of each output goes to the first maximum of its window."""
    rule = "n h w c, n y x c -> n h w c"
    attributes = _attributes(window, strides, padding)
    return Call("max_pool_gradient", rule, attributes=attributes)(x, d_y)[0]


def _gradient_backward(
    window: Pair, strides: Pair, padding: Pads, saved: tuple[Array, Array], d_x: Array
) -> Any:
    def plain(x: Array, d_y: Array) -> Array:
        largest = functools.partial(
            reference.max_pool, window=window, strides=strides, padding=padding
        )
        d_x: Array = jax.vjp(largest, x)[1](d_y)[0]
        return d_x

    return jax.vjp(plain, *saved)[1](d_x)


pool.defvjp(_forward, _backward)
pool_gradient.defvjp(lambda *args: (pool_gradient(*args), args[3:]), _gradient_backward)
