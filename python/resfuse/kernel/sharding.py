"""The kernel's calls under ``jit`` with the batch sharded over devices.

XLA knows nothing about a custom call and would gather the images; these rules keep every device on
its own part of the batch. Under ``shard_map`` the call is local already.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resfuse.kernel import extension
from resfuse.spec import ConvSpec

__all__ = ["WHOLE", "conv_affine", "conv_statistics", "max_pool", "partitioned", "summed"]

WHOLE = PartitionSpec()  # on every device


def conv_affine(*operands: Array, kernel_shape: tuple[int, ...] | None, **options: Any) -> Array:
    """As :func:`resfuse.ffi.conv_affine`, on each device's part of the batch."""

    def local(*operands: Array) -> Array:
        return extension.conv_affine(*operands, kernel_shape=kernel_shape, **options)

    residuals = len(operands) - 4

    def shard(batch: Any) -> tuple[Callable[..., Array], PartitionSpec, list[PartitionSpec]]:
        weights = [PartitionSpec()] * 3
        return local, batch, [batch, *weights, *[batch] * residuals]

    weights = "p q j o" if kernel_shape is None else "p q r s"
    rule = f"n h w i, {weights}, o, o" + ", n y x o" * residuals + " -> n y x o"
    return partitioned(local, shard, rule)(*operands)


def conv_statistics(x: Array, kernel: Array, *, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """As :func:`resfuse.ffi.conv_statistics`, with the statistics of the whole batch."""

    def local(x: Array, kernel: Array) -> tuple[Array, Array, Array]:
        return extension.conv_statistics(x, kernel, spec=spec)

    def shard(batch: PartitionSpec) -> Any:
        def whole_batch(x: Array, kernel: Array) -> tuple[Array, Array, Array]:
            y, mean, var = local(x, kernel)
            if batch == PartitionSpec():
                return y, mean, var
            # Parts of equal size: var = mean of the parts' variances + variance of their means.
            total = jax.lax.pmean(mean, batch[0])
            return y, total, jax.lax.pmean(var + (mean - total) ** 2, batch[0])

        return whole_batch, (batch, PartitionSpec(), PartitionSpec()), [batch, PartitionSpec()]

    rule = "n h w i, p q j o -> n y x o, o, o"
    return partitioned(local, shard, rule)(x, kernel)


def max_pool(x: Array, *geometry: Any) -> Array:
    """As :func:`resfuse.ffi.max_pool`, on each device's part of the batch."""

    def local(x: Array) -> Array:
        return extension.max_pool(x, *geometry)

    def shard(batch: PartitionSpec) -> Any:
        return local, batch, [batch]

    return partitioned(local, shard, "n h w c -> n y x c")(x)


def summed(local: Callable[..., Any], batch: PartitionSpec) -> Callable[..., Any]:
    """``local`` on a device's part of the batch, summed over the devices."""
    if batch == WHOLE:
        return local
    return lambda *operands: jax.lax.psum(local(*operands), batch[0])


def partitioned(local: Callable[..., Any], shard: Callable[..., Any], rule: str) -> Any:
    """``local`` as a call that splits along the factor ``n`` of ``rule`` and no other.

    ``shard(batch)`` says, for the batch sharded by the spec ``batch``: what each device computes,
    and the specs of the results and of the operands.
    """

    def partition(mesh: Mesh, operands: Any, results: Any) -> Any:
        del results
        function, out_specs, in_specs = shard(_batch_spec(mesh, operands[0]))
        named = lambda spec: NamedSharding(mesh, spec)  # noqa: E731

        def on_each_device(*operands: Array) -> Any:
            # Without the caller's mesh: what a device computes for itself must not be annotated
            # with shardings, which XLA no longer expects at this stage.
            with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
                return function(*operands)

        outs = jax.tree.map(named, out_specs, is_leaf=lambda s: isinstance(s, PartitionSpec))
        return mesh, on_each_device, outs, tuple(map(named, in_specs))

    # In the order of their appearance, as Shardy wants them.
    factors = tuple(dict.fromkeys(letter for letter in rule if letter.isalpha() and letter != "n"))
    call = custom_partitioning(lambda *operands: local(*operands))  # refuses keywords
    call.def_partition(partition, sharding_rule=rule, need_replication_factors=factors)
    return call


def _batch_spec(mesh: Mesh, x: Any) -> PartitionSpec:
    axes = (tuple(x.sharding.spec) or (None,))[0]
    names = (axes,) if isinstance(axes, str) else (axes or ())
    parts = 1
    for name in names:
        parts *= mesh.shape[name]
    # An uneven split would pad the batch, and the padding would enter the statistics.
    return PartitionSpec(names) if names and x.shape[0] % parts == 0 else PartitionSpec()
