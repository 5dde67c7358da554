"""A training step in Flax, as users write it: on the kernel, and on XLA."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax  # type: ignore[import-untyped]
from jax import Array

from resfuse.cli.peers.flax_networks import forward_training, load_variables
from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.recipe import LEARNING_RATE, MOMENTUM
from resfuse.cli.peers.run_flax import start

__all__ = ["load", "start"]


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], Any]:
    """A call that trains by one step and returns the loss; variant ``xla`` does in plain Flax."""
    del threads  # XLA takes what CPUs the process has
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    step = _step(forward_training(prepared.model, "xla" if variant == "xla" else None), optimizer)
    variables = load_variables(prepared)
    state = variables, optimizer.init(variables["params"])
    x, labels = map(jax.numpy.asarray, (prepared.images(batch), prepared.labels(batch)))

    def call() -> Array:
        nonlocal state
        state, loss = jax.block_until_ready(step(state, x, labels))
        return loss

    return call


def _step(apply: Callable[..., Any], optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """Maps variables with the optimizer's state, images and labels to the next ones, and a loss."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Array, labels: Array) -> Any:
        variables, momenta = state

        def loss(params: Any) -> Any:
            logits, updated = apply(variables | {"params": params}, x)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updated

        params = variables["params"]
        (value, updated), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, momenta = optimizer.update(gradients, momenta)
        return ({"params": optax.apply_updates(params, updates), **updated}, momenta), value

    return step
