"""The networks in Flax, of ``resfuse.linen`` and ``resfuse.d2l``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from resfuse import d2l, linen
from resfuse.cli.peers.models import BookResNet, Model, ResNet
from resfuse.cli.peers.prepared import Prepared


def network(model: Model, implementation: str | None, *, training: bool = True) -> nn.Module:
    """The network, without its variables."""
    if isinstance(model, BookResNet):
        return d2l.ResNet(
            model.stages, model.num_classes, training=training, implementation=implementation
        )
    assert isinstance(model, ResNet)
    return linen.ResNet(
        model.architecture, model.num_classes, model.cifar_stem, implementation=implementation
    )


def forward(model: Model, implementation: str | None) -> Callable[..., Any]:
    """Maps variables and images to logits, by the running statistics."""
    apply = network(model, implementation, training=False).apply
    if isinstance(model, BookResNet):
        return apply
    return functools.partial(apply, use_running_average=True)


def forward_training(model: Model, implementation: str | None) -> Callable[..., Any]:
    """Maps variables and images to logits, by the batch's statistics, and to the running ones."""
    return functools.partial(network(model, implementation).apply, mutable=["batch_stats"])


def load_variables(prepared: Prepared) -> Any:
    """The weights and running statistics as Flax takes them."""
    return jax.tree.map(jax.numpy.asarray, unflatten_dict(prepared.weights, sep="/"))
