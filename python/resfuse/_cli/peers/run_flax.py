"""The networks of ``resfuse.linen``: on the kernel, and as plain Flax on XLA."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax.traverse_util import unflatten_dict

import resfuse
from resfuse import linen
from resfuse._cli.peers.models import Model
from resfuse._cli.peers.prepared import Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    jax.numpy.zeros(1).block_until_ready()


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images.

    The variants: ``fuse`` folds and packs the weights once; ``arguments`` gets them in each call,
    on the kernel as well; and ``xla`` does so in plain Flax.
    """
    del threads  # XLA takes what CPUs the process has
    net = network(prepared.model, "xla" if variant == "xla" else None)
    x = jax.numpy.asarray(prepared.images(batch))
    variables = jax.tree.map(jax.numpy.asarray, unflatten_dict(prepared.weights, sep="/"))

    def forward(variables: Any, x: jax.Array) -> Any:
        return net.apply(variables, x, use_running_average=True)

    if variant == "fuse":
        fast = resfuse.fuse(lambda x: forward(variables, x))
        return lambda: fast(x).block_until_ready()
    compiled = jax.jit(forward)
    return lambda: compiled(variables, x).block_until_ready()


def network(model: Model, implementation: str | None) -> nn.Module:
    """The network, without its variables."""
    return linen.ResNet(
        model.architecture, model.num_classes, model.cifar_stem, implementation=implementation
    )
