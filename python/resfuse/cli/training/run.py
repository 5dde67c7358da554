"""The way of a network through the data, from any step to the end."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Self

from resfuse.cli.data import Dataset, batches, in_order
from resfuse.cli.ending import refuse
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.finetuning import fine_tuned
from resfuse.cli.training.networks import check_images, network
from resfuse.cli.training.options import Options
from resfuse.cli.training.pretrained import Pretrained
from resfuse.cli.training.rates import learning_rate, optimizer, scaled
from resfuse.cli.training.trainer import Evaluation, Outcome, Trainer


class Diverged(ArithmeticError):  # noqa: N818
    """Training came to numbers that are not finite; the message names the step."""


@dataclasses.dataclass(frozen=True)
class Position:
    """The steps done in all, and over those of the latest epoch the sums of what came of them."""

    step: int = 0
    loss: float = 0.0
    right: int = 0

    def after(self, outcome: Outcome, steps_per_epoch: int) -> Self:
        """The position one step on; a new epoch begins its sums anew."""
        begins = self.step % steps_per_epoch == 0
        loss, right = (0.0, 0) if begins else (self.loss, self.right)
        return type(self)(self.step + 1, loss + outcome.loss, right + outcome.right)


@dataclasses.dataclass(frozen=True)
class Step:
    """A step just done.

    ``position`` is that after it, ``epoch`` counts from 1, and ``seconds`` is how long the step
    took, with the wait for its images.
    """

    position: Position
    outcome: Outcome
    epoch: int
    ends_epoch: bool
    seconds: float


class Run:
    """Trains the network that the options name. Two runs with equal options do the same.

    Args:
        options: What to do.
        data: The images.
        devices: Where to do it.
        implementation: Of the network's operation; ``None`` chooses.
        pretrained: The network of the options' weights, if there are any.
        resumed: Whether variables will come from a checkpoint, and need not be loaded.
    """

    def __init__(
        self,
        options: Options,
        data: Dataset,
        devices: Devices,
        implementation: str | None = None,
        pretrained: Pretrained | None = None,
        resumed: bool = False,
    ) -> None:
        _check_batch(options, data, devices)
        self.options, self.data = options, data
        self.steps_per_epoch = len(data.train) // options.batch_size
        self.learning_rate = learning_rate(options, self.total_steps)
        rule = optimizer(options, self.learning_rate)
        if pretrained is not None:
            net, factor = fine_tuned(pretrained, options, data, resumed)
            rule = scaled(rule, factor)
        else:
            assert options.model is not None
            net = network(options.model, len(data.classes), data.image_shape, implementation)
            check_images(net, data.image_shape, options.model)
        self.pretrained = pretrained
        self.trainer = Trainer(net, rule, devices, options.seed)

    @property
    def total_steps(self) -> int:
        """The steps of all epochs."""
        return self.options.epochs * self.steps_per_epoch

    def mean(self, position: Position) -> tuple[float, float]:
        """Loss and accuracy over the steps of the latest epoch, up to ``position``."""
        steps = (position.step - 1) % self.steps_per_epoch + 1
        return position.loss / steps, position.right / (steps * self.options.batch_size)

    def steps(self, position: Position) -> Iterator[Step]:
        """Trains from ``position`` to the end; yields after each step.

        Raises:
            Diverged: The loss is not finite.
        """
        begun, done = divmod(position.step, self.steps_per_epoch)
        for epoch in range(begun, self.options.epochs):
            for outcome, seconds in self._epoch(epoch, done if epoch == begun else 0):
                position = position.after(outcome, self.steps_per_epoch)
                if not math.isfinite(outcome.loss):
                    raise Diverged(f"the loss is {outcome.loss} at step {position.step}")
                ends = position.step % self.steps_per_epoch == 0
                yield Step(position, outcome, epoch + 1, ends, seconds)

    def evaluate(self) -> Evaluation:
        """The network on the test images."""
        shard = self.trainer.devices.shard
        with in_order(self.data.test, self.options.batch_size, shard) as stream:
            return self.trainer.evaluate(stream)

    def _epoch(self, epoch: int, first_step: int) -> Iterator[tuple[Outcome, float]]:
        options = self.options
        stream = batches(
            self.data.train,
            options.batch_size,
            seed=options.seed,
            epoch=epoch,
            first_step=first_step,
            augment=options.augment,
            shard=self.trainer.devices.shard,
        )
        with contextlib.closing(stream):
            start = time.perf_counter()
            for batch in stream:
                outcome = self.trainer.step(batch)
                yield outcome, time.perf_counter() - start
                start = time.perf_counter()


def _check_batch(options: Options, data: Dataset, devices: Devices) -> None:
    size, images = options.batch_size, len(data.train)
    if size > images:
        refuse(f"--batch-size {size}: {options.data} has only {images} training images")
    if size % devices.count:
        processes, each = devices.shard[1], devices.count // devices.shard[1]
        refuse(
            f"--batch-size {size}: it must be a multiple of {devices.count}, "
            f"for {processes} processes with {each} devices each"
        )
