"""The same weights through two implementations: what they answer, and how fast."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from resfuse.cli.bench.worker import seconds_per_call

ROUNDS = 9

Logits = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The logits of both on the same images, and the images per second of each round."""

    labels: NDArray[np.int64]
    logits: tuple[Logits, Logits]
    speeds: tuple[list[float], list[float]]

    @property
    def predictions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The likeliest class of every image."""
        first, second = self.logits
        return first.argmax(-1), second.argmax(-1)

    @property
    def accuracies(self) -> tuple[float, float]:
        """The shares of images classified rightly."""
        first, second = self.predictions
        return float((first == self.labels).mean()), float((second == self.labels).mean())

    @property
    def differing_predictions(self) -> int:
        """How many images are classified differently."""
        first, second = self.predictions
        return int((first != second).sum())

    @property
    def largest_difference(self) -> float:
        """The largest difference between two logits."""
        first, second = self.logits
        return float(np.abs(first - second).max())

    @property
    def images_per_second(self) -> tuple[float, float]:
        """The medians over the rounds."""
        first, second = self.speeds
        return statistics.median(first), statistics.median(second)

    @property
    def ratio(self) -> float:
        """How many times as fast the first is: the median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(*self.speeds, strict=True))


def compare(
    model: nnx.Module,
    plain: nnx.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    check: Callable[[], None],
) -> Comparison:
    """Evaluates the images through ``model`` and, with its weights, through ``plain``.

    ``check`` is called between the rounds of timings.
    """
    state = nnx.state(model)
    batch = jax.device_put(images)
    calls = tuple(_forward(each, state, batch) for each in (model, plain))
    logits = tuple(np.asarray(call()) for call in calls)  # compiles them too
    rounds = []
    for _ in range(ROUNDS + 1):
        rounds.append([seconds_per_call(call, 0.1) for call in calls])
        check()
    del rounds[0]  # it warms up
    first, second = ([len(labels) / each[i] for each in rounds] for i in range(2))
    return Comparison(labels, (logits[0], logits[1]), (first, second))


def _forward(
    model: nnx.Module, state: nnx.State[Any, Any], images: jax.Array
) -> Callable[[], jax.Array]:
    """A compiled evaluation that gets weights and images as arguments: no folding beforehand."""
    graph = nnx.graphdef(model)
    logits = jax.jit(lambda state, images: nnx.merge(graph, state)(images))
    return lambda: logits(state, images).block_until_ready()
