"""All devices of all processes, each with its part of the batch and a copy of the weights."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


@dataclasses.dataclass(frozen=True)
class Devices:
    """One axis of devices, in the order of the processes.

    ``batch`` shards the first axis of an array, ``everywhere`` puts a whole one on each device.
    """

    batch: NamedSharding
    everywhere: NamedSharding

    @classmethod
    def all(cls) -> "Devices":
        """The devices of this process and of those that it has joined."""
        mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))
        return cls(
            NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
        )

    @property
    def count(self) -> int:
        """The devices of all processes."""
        return self.batch.mesh.size

    @property
    def shard(self) -> tuple[int, int]:
        """Which of how many equal parts of a batch this process has to read."""
        return jax.process_index(), jax.process_count()

    def spread(self, batch: Any) -> Any:
        """A pytree of this process' parts of the batch, as arrays over all devices."""
        return jax.tree.map(
            lambda part: jax.make_array_from_process_local_data(self.batch, part), batch
        )

    def copied(self, tree: Any) -> Any:
        """A pytree of arrays that every process has, on every device."""
        return jax.tree.map(
            lambda each: jax.make_array_from_process_local_data(
                self.everywhere, each := np.asarray(each), each.shape
            ),
            tree,
        )
