"""What a run leaves in its directory, and shows: metrics, checkpoints, progress."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from resfuse.cli.training.checkpoints import Checkpoints
from resfuse.cli.training.display import Display, Pace
from resfuse.cli.training.metrics import Metrics, Row
from resfuse.cli.training.run import Diverged, Position, Run, Step
from resfuse.cli.training.storage import Record
from resfuse.cli.training.trainer import Evaluation


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Every how many steps to save, if not only after an epoch, and to note the numbers."""

    checkpoint: int | None
    log: int


class Outputs:
    """Takes note of every step of ``run``, which begins at ``position``."""

    def __init__(
        self,
        out: Path,
        run: Run,
        checkpoints: Checkpoints,
        position: Position,
        intervals: Intervals,
    ) -> None:
        self._run, self._checkpoints, self._intervals = run, checkpoints, intervals
        self._saved = checkpoints.latest
        self._metrics = Metrics(out, position.step)
        self._display = Display(run.options.epochs, run.total_steps, position.step)
        self._pace = Pace()

    def note(self, step: Step, test: Evaluation | None) -> None:
        """Takes note of a step, of which ``test`` came if it ended an epoch."""
        self._pace.add(step.seconds)
        number = step.position.step
        self._display.advance(self._epoch_row(step, test))
        if number % self._intervals.log == 0:
            self._add(self._step_row(step))
        if test:
            self._add(self._epoch_row(step, test))
        every = self._intervals.checkpoint
        if test or (every and number % every == 0):
            self.save(step.position, test)

    def save(self, position: Position, test: Evaluation | None = None) -> None:
        """Writes a checkpoint, unless there is one of this step.

        Raises:
            Diverged: The state is not finite.
        """
        if self._saved == position.step:
            return
        state = self._run.trainer.state
        if not _finite(state):
            raise Diverged(f"the weights are not finite after step {position.step}")
        run, data = self._run, self._run.data
        record = Record(
            run.options,
            data.classes,
            data.image_shape,
            len(data.train),
            position,
            run.pretrained.described() if run.pretrained else None,
        )
        self._checkpoints.save(state, record, test.accuracy if test else None)
        self._saved = position.step

    def close(self) -> None:
        """Closes files and takes the bar away."""
        self._display.close()
        self._metrics.close()

    def _add(self, row: Row) -> None:
        self._metrics.add(row)
        self._display.tell(row, self._pace.seconds_per_step)

    def _step_row(self, step: Step) -> Row:
        loss, right = step.outcome
        return self._row(step, "step", loss, right / self._run.options.batch_size, None)

    def _epoch_row(self, step: Step, test: Evaluation | None) -> Row:
        return self._row(step, "epoch", *self._run.mean(step.position), test)

    def _row(
        self, step: Step, of: str, loss: float, accuracy: float, test: Evaluation | None
    ) -> Row:
        seconds, number = self._pace.seconds_per_step, step.position.step
        return Row(
            step=number,
            epoch=step.epoch,
            of=of,
            loss=loss,
            accuracy=accuracy,
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            learning_rate=float(self._run.learning_rate(number - 1)),
            images_per_second=self._run.options.batch_size / seconds if seconds else None,
        )


@jax.jit
def _finite(tree: object) -> jax.Array:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, np.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()
