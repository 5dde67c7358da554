"""The networks' answers in Flax: on the kernel, and on XLA."""

from collections.abc import Callable
from typing import Any

import jax

import resfuse
from resfuse.cli.peers.flax_networks import forward, load_variables
from resfuse.cli.peers.prepared import Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    jax.numpy.zeros(1).block_until_ready()


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images.

    The variants: ``fuse`` folds and packs the weights once; ``arguments`` gets them in each call,
    on the kernel as well; and ``xla`` does so in plain Flax.
    """
    del threads  # XLA takes what CPUs the process has
    apply = forward(prepared.model, "xla" if variant == "xla" else None)
    x = jax.numpy.asarray(prepared.images(batch))
    variables = load_variables(prepared)
    if variant == "fuse":
        fast = resfuse.fuse(lambda x: apply(variables, x))
        return lambda: fast(x).block_until_ready()
    compiled = jax.jit(apply)
    return lambda: compiled(variables, x).block_until_ready()
