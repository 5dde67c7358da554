"""The calls of ``ffi_norm.py`` under ``vmap`` and sharding, see ``gradient_calls.py``."""

import functools
from typing import Any

from jax import Array
from jax.sharding import PartitionSpec

from resfuse.kernel import ffi_norm
from resfuse.kernel.batching import in_turn_under_vmap
from resfuse.kernel.sharding import WHOLE, partitioned, summed

__all__ = ["norm_gradient", "norm_sums", "normalize"]

_IMAGE = "n y x o"


def normalize(*operands: Array, relu: bool) -> Array:
    """As :func:`resfuse.kernel.ffi_norm.normalize`."""
    local = functools.partial(ffi_norm.normalize, relu=relu)
    residuals = len(operands) - 4

    def shard(batch: PartitionSpec) -> Any:
        return local, batch, [batch, WHOLE, WHOLE, WHOLE, *[batch] * residuals]

    rule = f"{_IMAGE}, o, o, o" + f", {_IMAGE}" * residuals + f" -> {_IMAGE}"
    y: Array = in_turn_under_vmap(partitioned(local, shard, rule))(*operands)
    return y


def norm_sums(*operands: Array) -> tuple[Array, Array]:
    """As :func:`resfuse.kernel.ffi_norm.norm_sums`, of the whole batch."""

    def shard(batch: PartitionSpec) -> Any:
        specs = [batch, batch, WHOLE, *[batch] * (len(operands) - 3)]
        return summed(ffi_norm.norm_sums, batch), (WHOLE, WHOLE), specs

    rule = "n y x o, n y x o, o" + ", n y x o" * (len(operands) - 3) + " -> o, o"
    sums: tuple[Array, Array] = in_turn_under_vmap(partitioned(ffi_norm.norm_sums, shard, rule))(
        *operands
    )
    return sums


def norm_gradient(*operands: Array, residual: bool) -> tuple[Array, ...]:
    """As :func:`resfuse.kernel.ffi_norm.norm_gradient`."""
    local = functools.partial(ffi_norm.norm_gradient, residual=residual)
    results, images = 2 if residual else 1, len(operands) - 6

    def shard(batch: PartitionSpec) -> Any:
        return local, (batch,) * results, [batch, batch, *[WHOLE] * 4, *[batch] * images]

    image = "n y x o"
    rule = f"{image}, {image}, o, o, o, o" + f", {image}" * images
    rule += " -> " + ", ".join([image] * results)
    outs: tuple[Array, ...] = in_turn_under_vmap(partitioned(local, shard, rule))(*operands)
    return outs
