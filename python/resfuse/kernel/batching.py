"""The kernel's two calls under ``vmap``: folded into the batch, or one call after the other."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from resfuse.kernel import sharding
from resfuse.spec import ConvSpec

__all__ = [
    "conv_affine",
    "conv_statistics",
    "fold",
    "fold_all",
    "in_turn",
    "in_turn_under_vmap",
    "unfold",
]


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
        folded = fold_all(size, [batched[0], *batched[4:]], [operands[0], *operands[4:]])
        y = call(folded[0], *operands[1:4], *folded[1:])
        return unfold(size, y), True

    return call(x, weights, *rest)


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """As :func:`resfuse.ffi.conv_statistics`; each example has statistics of its own."""
    call = in_turn_under_vmap(functools.partial(sharding.conv_statistics, spec=spec))
    outputs: tuple[Array, Array, Array] = call(x, kernel)
    return outputs


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


def fold_all(size: int, batched: Sequence[bool], arrays: Sequence[Array]) -> list[Array]:
    """Each folded; those that the ``size`` examples share are repeated."""
    return [
        fold(each if is_batched else jnp.broadcast_to(each, (size, *each.shape)))
        for each, is_batched in zip(arrays, batched, strict=True)
    ]


def unfold(size: int, images: Array) -> Array:
    """The batches of ``size`` examples again."""
    return images.reshape(size, images.shape[0] // size, *images.shape[1:])


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
