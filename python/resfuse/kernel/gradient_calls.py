"""The gradients' kernel calls under ``vmap`` and sharding.

As ``batching.py`` and ``sharding.py`` do it for the forward pass. Sums over the batch are those of
all devices. Under ``vmap`` the gradient by the input only enlarges the batch where the weights are
shared; the other calls sum over the batch, so each example has one of its own.
"""

import functools
from collections.abc import Sequence
from typing import Any

from jax import Array
from jax.custom_batching import custom_vmap
from jax.sharding import PartitionSpec

from resfuse.kernel import ffi_gradients as ffi
from resfuse.kernel.batching import fold, fold_all, in_turn, in_turn_under_vmap, unfold
from resfuse.kernel.sharding import WHOLE, partitioned, summed
from resfuse.spec import ConvSpec

__all__ = [
    "gradients",
    "input_gradient",
    "max_pool_gradient",
    "weight_gradient",
]


def input_gradient(d_y: Array, kernel: Array, **options: Any) -> Array:
    """As :func:`resfuse.kernel.ffi_gradients.input_gradient`."""
    local = functools.partial(ffi.input_gradient, **options)

    def shard(batch: PartitionSpec) -> Any:
        return local, batch, [batch, WHOLE]

    @custom_vmap
    def call(d_y: Array, kernel: Array) -> Array:
        return partitioned(local, shard, "n y x o, p q j o -> n h w i")(d_y, kernel)

    @call.def_vmap
    def rule(size: int, batched: Sequence[bool], d_y: Array, kernel: Array) -> tuple[Array, bool]:
        if batched[1]:
            return in_turn(call, batched, (d_y, kernel)), True
        return unfold(size, call(fold(d_y), kernel)), True

    return call(d_y, kernel)


def weight_gradient(x: Array, d_y: Array, **options: Any) -> Array:
    """As :func:`resfuse.kernel.ffi_gradients.weight_gradient`, of the whole batch."""
    local = functools.partial(ffi.weight_gradient, **options)

    def shard(batch: PartitionSpec) -> Any:
        return summed(local, batch), WHOLE, [batch, batch]

    rule = "n h w i, n y x o -> p q j o"
    return in_turn_under_vmap(partitioned(local, shard, rule))(x, d_y)


def gradients(x: Array, kernel: Array, d_y: Array, *, spec: ConvSpec) -> tuple[Array, Array]:
    """As :func:`resfuse.kernel.ffi_gradients.gradients`, the kernel's of the whole batch."""
    local = functools.partial(ffi.gradients, spec=spec)

    def shard(batch: PartitionSpec) -> Any:
        def on_part(x: Array, kernel: Array, d_y: Array) -> tuple[Array, Array]:
            by_x, by_kernel = local(x, kernel, d_y)
            return by_x, summed(lambda: by_kernel, batch)()

        return on_part, (batch, WHOLE), [batch, WHOLE, batch]

    rule = "n h w i, p q j o, n y x o -> n h w i, p q j o"
    both: tuple[Array, Array] = in_turn_under_vmap(partitioned(local, shard, rule))(x, kernel, d_y)
    return both


def max_pool_gradient(x: Array, d_y: Array, *geometry: Any) -> Array:
    """As :func:`resfuse.kernel.ffi_gradients.max_pool_gradient`."""

    def local(x: Array, d_y: Array) -> Array:
        return ffi.max_pool_gradient(x, d_y, *geometry)

    def shard(batch: PartitionSpec) -> Any:
        return local, batch, [batch, batch]

    @custom_vmap
    def call(x: Array, d_y: Array) -> Array:
        return partitioned(local, shard, "n h w c, n y x c -> n h w c")(x, d_y)

    @call.def_vmap
    def rule(size: int, batched: Sequence[bool], *operands: Array) -> tuple[Array, bool]:
        return unfold(size, call(*fold_all(size, batched, operands))), True

    return call(x, d_y)
