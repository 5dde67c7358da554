"""Max pooling on the kernel: XLA's own ``reduce_window`` runs one output at a time on a CPU."""

import functools
from typing import Any

import jax
from jax import Array, lax
from jax.custom_batching import custom_vmap

from resfuse import reference
from resfuse.kernel import extension, gradient_calls, sharding
from resfuse.kernel.batching import fold, unfold
from resfuse.kernel.bilinear import varying_like
from resfuse.kernel.forward_mode import refuse_forward_mode
from resfuse.spec import PaddingLike, resolve_padding

__all__ = ["max_pool"]

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


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
    supported = extension.available() and x.dtype == jax.numpy.float32 and 0 not in x.shape[1:]
    if implementation == "xla" or not supported:
        return plain(x)

    def on_cpu(x: Array) -> Array:
        return _max_pool(window, strides, pads, refuse_forward_mode(x))

    return lax.platform_dependent(x, cpu=on_cpu, default=plain)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max_pool(window: Pair, strides: Pair, padding: Pads, x: Array) -> Array:
    @custom_vmap
    def call(x: Array) -> Array:
        return sharding.max_pool(x, window, strides, padding)

    @call.def_vmap
    def rule(size: int, batched: Any, x: Array) -> tuple[Array, bool]:
        del batched
        return unfold(size, call(fold(x))), True

    return call(x)


def _forward(window: Pair, strides: Pair, padding: Pads, x: Array) -> tuple[Array, Array]:
    return _max_pool(window, strides, padding, x), x


def _backward(
    window: Pair, strides: Pair, padding: Pads, x: Array, cotangent: Array
) -> tuple[Array]:
    return (varying_like(_gradient(window, strides, padding, x, cotangent), x),)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _gradient(window: Pair, strides: Pair, padding: Pads, x: Array, d_y: Array) -> Array:
    return gradient_calls.max_pool_gradient(x, d_y, window, strides, padding)


def _gradient_backward(
    window: Pair, strides: Pair, padding: Pads, saved: tuple[Array, Array], d_x: Array
) -> Any:
    def plain(x: Array, d_y: Array) -> Array:
        pool = functools.partial(
            reference.max_pool, window=window, strides=strides, padding=padding
        )
        return jax.vjp(pool, x)[1](d_y)[0]

    return jax.vjp(plain, *saved)[1](d_x)


_max_pool.defvjp(_forward, _backward)
_gradient.defvjp(lambda *args: (_gradient(*args), args[3:]), _gradient_backward)
