"""A network in training: the compiled step, the compiled evaluation, and the state they change."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from resfuse.cli.data import Batch
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.networks import Network, Variables

_losses = optax.softmax_cross_entropy_with_integer_labels


class State(NamedTuple):
    """Everything that training changes."""

    variables: Variables
    optimizer: Any


class Outcome(NamedTuple):
    """Of one step, before its update: the mean loss, and how many images were right."""

    loss: float
    right: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The mean loss, and how many images of each class (row) were taken for which (column)."""

    loss: float
    confusion: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of images that were right."""
        return float(np.trace(self.confusion) / self.confusion.sum())


class Trainer:
    """Trains on all devices, the batch split evenly between them.

    The statistics of batch norm are those of the whole batch. ``state`` is the same everywhere.
    """

    def __init__(
        self,
        network: Network,
        optimizer: optax.GradientTransformation,
        devices: Devices,
        seed: int,
    ) -> None:
        self.network, self.devices = network, devices
        variables = network.init(seed)
        self.state: State = devices.copied(State(variables, optimizer.init(variables.params)))
        self.compiled_step = training_step(network, optimizer, devices)
        self._evaluate = evaluation(network, devices)

    def step(self, batch: Batch) -> Outcome:
        """Updates the state with this process' part of a batch."""
        images, labels = self.devices.spread(batch)
        self.state, (loss, right) = self.compiled_step(self.state, images, labels)
        return Outcome(float(loss), int(right))

    def evaluate(self, batches: Iterable[Batch]) -> Evaluation:
        """Tests the network on images whose label is not -1."""
        loss, confusion = 0.0, np.zeros((), np.int64)
        for batch in batches:
            results = self._evaluate(self.state.variables, *self.devices.spread(batch))
            loss += float(results[0])
            confusion = confusion + np.asarray(results[1]).astype(np.int64)
        return Evaluation(loss / confusion.sum(), confusion)


def training_step(
    network: Network, optimizer: optax.GradientTransformation, devices: Devices
) -> Any:
    """``(state, images, labels)`` to the state after one step, which replaces the first, and loss.

    The loss comes with the number of images that were right.
    """

    def step(state: State, images: Array, labels: Array) -> tuple[State, tuple[Array, Array]]:
        params, statistics = state.variables

        def mean_loss(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, changed = network.apply(Variables(params, statistics), images, True)
            return _losses(logits, labels).mean(), (logits, changed)

        (loss, (logits, changed)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
        updates, optimized = optimizer.update(gradients, state.optimizer, params)
        variables = Variables(optax.apply_updates(params, updates), changed)
        return State(variables, optimized), (loss, (logits.argmax(-1) == labels).sum())

    return jax.jit(step, donate_argnums=0, out_shardings=devices.everywhere)


def evaluation(network: Network, devices: Devices) -> Any:
    """``(variables, images, labels)`` to the sum of the losses, and the confusion counts."""

    def evaluate(variables: Variables, images: Array, labels: Array) -> tuple[Array, Array]:
        logits, _ = network.apply(variables, images, False)
        losses = jnp.where(labels < 0, 0, _losses(logits, jnp.maximum(labels, 0)))
        classes = logits.shape[-1]
        # A product of one-hot rows, which are zero for -1: it sums over devices by an all-reduce.
        truth, guess = (jax.nn.one_hot(each, classes) for each in (labels, logits.argmax(-1)))
        return losses.sum(), truth.T @ guess

    return jax.jit(evaluate, out_shardings=devices.everywhere)
