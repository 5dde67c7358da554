"""Flax on resfuse's kernel, and on XLA. Only what resfuse makes public is used of it.

The variants: ``fuse``, where what is fused folds and packs the weights once; ``arguments``, which
get them in each call, on the kernel as well; ``xla``, which is plain Flax, with arguments too.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import Array

import resfuse
from prepared import LEARNING_RATE, MOMENTUM, Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    jax.numpy.zeros(1).block_until_ready()


def inference(variant: str, folder: str, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images."""
    del threads  # XLA takes what CPUs the process has
    prepared = Prepared(folder)
    apply = prepared.model.forward(_implementation(variant))
    x, variables = jax.numpy.asarray(prepared.images(batch)), prepared.variables()
    if variant == "fuse":
        fast = resfuse.fuse(lambda x: apply(variables, x))
        return lambda: fast(x).block_until_ready()
    compiled = jax.jit(apply)
    return lambda: compiled(variables, x).block_until_ready()


def training(variant: str, folder: str, batch: int, threads: int) -> Callable[[], Any]:
    """A call that trains by one step and returns the loss."""
    del threads
    prepared = Prepared(folder)
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    step = sgd_step(prepared.model.forward_training(_implementation(variant)), optimizer)
    variables = prepared.variables()
    state = variables, optimizer.init(variables["params"])
    x, labels = map(jax.numpy.asarray, (prepared.images(batch), prepared.labels(batch)))

    def call() -> Array:
        nonlocal state
        state, loss = jax.block_until_ready(step(state, x, labels))
        return loss

    return call


def sgd_step(
    apply: Callable[..., Any], optimizer: optax.GradientTransformation
) -> Callable[..., Any]:
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


def _implementation(variant: str) -> str | None:
    return "xla" if variant == "xla" else None
