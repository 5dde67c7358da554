"""Training the tiny classifier on the digits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from rich.progress import Progress

from resfuse._cli.digits import Digits
from resfuse.nnx import ResNetClassifier

BATCH = 32
LEARNING_RATE = 2e-3


class History(NamedTuple):
    """Accuracy after each epoch."""

    train: list[float]
    test: list[float]


def train(
    model: ResNetClassifier,
    digits: Digits,
    *,
    epochs: int,
    seed: int,
    progress: Progress,
    check: Callable[[], None],
) -> History:
    """Trains ``model`` in place and leaves it in evaluation mode; calls ``check`` at every step."""
    steps = len(digits.train_labels) // BATCH
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, epochs * steps)
    optimizer = nnx.Optimizer(model, optax.adamw(schedule), wrt=nnx.Param)
    held_out = jnp.asarray(digits.test_images), jnp.asarray(digits.test_labels)
    order = np.random.default_rng(seed)
    task = progress.add_task("Training", total=epochs * steps)
    history = History([], [])
    for _ in range(epochs):
        model.train()
        correct = 0
        # Images that do not fill a batch are left out, others in each epoch.
        chosen = order.permutation(len(digits.train_labels))[: steps * BATCH]
        for batch in chosen.reshape(steps, BATCH):
            images = jnp.asarray(digits.train_images[batch])
            labels = jnp.asarray(digits.train_labels[batch])
            correct += int(_step(model, optimizer, images, labels))
            progress.advance(task)
            check()
        model.eval()
        history.train.append(correct / (steps * BATCH))
        history.test.append(float(_accuracy(model, *held_out)))
        progress.update(task, description=f"Held-out accuracy {history.test[-1]:.1%}")
    return history


@nnx.jit
def _step(
    model: ResNetClassifier,
    optimizer: nnx.Optimizer[ResNetClassifier],
    images: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    """One update of the weights; returns how many of the images were classified rightly."""

    def loss(model: ResNetClassifier) -> tuple[jax.Array, jax.Array]:
        logits = model(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    (_, logits), gradients = nnx.value_and_grad(loss, has_aux=True)(model)
    optimizer.update(model, gradients)
    right: jax.Array = logits.argmax(-1) == labels
    return right.sum()


@nnx.jit
def _accuracy(model: ResNetClassifier, images: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(model(images).argmax(-1) == labels)
