"""The kernel's two calls under ``vmap``: folded into the batch, or one call after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from resfuse import sharding
from resfuse.spec import ConvSpec

__all__ = ["conv_affine", "conv_statistics", "fold", "in_turn", "in_turn_under_vmap"]


def conv_affine(
    packed: Array | None, x: Array, kernel: Array, *rest: Array, **options: Any
) -> Array:
    """As :func:`resfuse.ffi.conv_affine`; with shared weights ``vmap`` only enlarges the batch.

    ``packed``, if it is there, is what the call reads in place of ``kernel``.
    """
    weights, kernel_shape = (kernel, None) if packed is None else (packed, kernel.shape)

    @custom_vmap
    def call(*operands: Array) -> Array:
        return sharding.conv_affine(*operands, kernel_shape=kernel_shape, **options)

    @call.def_vmap
    def rule(size: int, batched: Sequence[bool], *operands: Array) -> tuple[Array, bool]:
        if any(batched[1:4]):
            return in_turn(call, batched, operands), True
        images = [operands[0], *operands[4:]]
        folded = [
            fold(image if is_batched else jnp.broadcast_to(image, (size, *image.shape)))
            for image, is_batched in zip(images, [batched[0], *batched[4:]], strict=True)
        ]
        y = call(folded[0], *operands[1:4], *folded[1:])
        return y.reshape(size, y.shape[0] // size, *y.shape[1:]), True

    return call(x, weights, *rest)


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """As :func:`resfuse.ffi.conv_statistics`; each example has statistics of its own."""

    @custom_vmap
    def call(x: Array, kernel: Array) -> tuple[Array, Array, Array]:
        return sharding.conv_statistics(x, kernel, spec=spec)

    @call.def_vmap
    def rule(
        size: int, batched: Sequence[bool], *operands: Array
    ) -> tuple[tuple[Array, Array, Array], tuple[bool, bool, bool]]:
        del size
        return in_turn(call, batched, operands), (True, True, True)

    return call(x, kernel)


def in_turn(call: Callable[..., Any], batched: Sequence[bool], operands: Sequence[Array]) -> Any:
    """One call for each example; broadcasting would copy what the examples share."""
    mapped = [operand for operand, is_batched in zip(operands, batched, strict=True) if is_batched]

    def one(example: list[Array]) -> Any:
        rest = iter(example)
        return call(
            *(
                next(rest) if is_batched else operand
                for operand, is_batched in zip(operands, batched, strict=True)
            )
        )

    return jax.lax.map(one, mapped)


def fold(images: Array) -> Array:
    """The examples' batches as one."""
    return images.reshape(images.shape[0] * images.shape[1], *images.shape[2:])


def in_turn_under_vmap(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of arrays; ``vmap`` calls it once for each example."""

    @custom_vmap
    def call(*operands: Array) -> Any:
        return function(*operands)

    @call.def_vmap
    def rule(size: int, batched: Sequence[bool], *operands: Array) -> tuple[Any, Any]:
        del size
        results = in_turn(call, batched, operands)
        return results, jax.tree.map(lambda _: True, results)

    return call
