"""The checkpoints of a run: written by Orbax, whole or not at all."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from resfuse.cli.training.storage import (
    Record,
    alone,
    as_os_error,
    quiet,
    read_record,
    reserve,
    restored,
)
from resfuse.cli.training.trainer import State

FOLDER = "checkpoints"
KEPT = 3  # the latest ones, and the best


class Checkpoints:
    """The checkpoints of the run in the directory ``out``.

    A checkpoint appears under its name when it is whole. The latest few are kept, and the one
    with the best accuracy of those that were saved with one. Only one process at a time may have
    them with ``writes``, which removes what a killed run began to write.
    """

    def __init__(self, out: Path, *, writes: bool = False) -> None:
        self.folder = (out / FOLDER).absolute()
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)
        latest = LatestN(KEPT)
        best = BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            create=False,
            best_fn=_accuracy,
            preservation_policy=AnyPreservationPolicy([latest, best]),
            cleanup_tmp_directories=writes,
            enable_async_checkpointing=False,
            multiprocessing_options=alone(),
        )
        with quiet():
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint, if there is one."""
        step: int | None = self._manager.latest_step()
        return step

    @property
    def best(self) -> int | None:
        """The step of the one with the best accuracy."""
        step: int | None = self._manager.best_step()
        return step

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / str(step)

    def save(self, state: State, record: Record, accuracy: float | None) -> None:
        """Writes a checkpoint, and then removes those that are not to be kept.

        Raises:
            OSError: It cannot be written. What was begun is removed when the run is continued.
        """
        variables, optimizer = (jax.tree.map(np.asarray, part) for part in state)
        items = ocp.args.Composite(
            variables=ocp.args.StandardSave(variables),
            optimizer=ocp.args.StandardSave(optimizer),
            record=ocp.args.JsonSave(dataclasses.asdict(record)),
        )
        metrics = None if accuracy is None else {"accuracy": accuracy}
        reserve(self.folder, sum(leaf.nbytes for leaf in jax.tree.leaves((variables, optimizer))))
        try:
            with quiet():
                self._manager.save(record.position.step, args=items, metrics=metrics)
        except Exception as error:  # Orbax lets through whatever its storage raises
            raise as_os_error(error) from error

    def latest_record(self) -> Record:
        """What the latest checkpoint, of which there must be one, holds beside arrays."""
        assert self.latest is not None
        return read_record(self.path(self.latest))

    def state(self, step: int, like: State) -> State:
        """The state in the checkpoint of this step, as NumPy arrays in a tree ``like`` this one."""
        path = self.path(step)
        return State(
            restored(path / "variables", like.variables),
            restored(path / "optimizer", like.optimizer),
        )


def has_checkpoints(out: Path) -> bool:
    """Whether the directory ``out`` holds a whole checkpoint; changes nothing."""
    folder = out / FOLDER
    return folder.is_dir() and any(each.name.isdecimal() for each in folder.iterdir())


def _accuracy(metrics: dict[str, float]) -> float:
    return metrics["accuracy"]
