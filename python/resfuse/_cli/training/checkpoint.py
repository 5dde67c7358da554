"""Checkpoints of ``resfuse train``: written by Orbax, whole or not at all, and read again."""

import contextlib
import dataclasses
import functools
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp  # type: ignore[import-untyped]
from absl import logging
from jax import Array
from numpy.typing import NDArray
from orbax.checkpoint.checkpoint_managers import (  # type: ignore[import-untyped]
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

import resfuse
from resfuse._cli.refuse import refuse
from resfuse._cli.training.networks import Network, Shape, Variables, network
from resfuse._cli.training.options import Options
from resfuse._cli.training.position import Position
from resfuse._cli.training.trainer import State

FOLDER = "checkpoints"
KEPT = 3  # the latest ones, and the best
OVERHEAD = 1 << 20  # bytes of a checkpoint that are not arrays, at most


@dataclasses.dataclass(frozen=True)
class Record:
    """What a checkpoint holds beside arrays: all that going on and predicting need to know."""

    options: Options
    classes: tuple[str, ...]
    image_shape: Shape
    train_images: int
    position: Position

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """The record from what :func:`dataclasses.asdict` made of it, after a trip through JSON."""
        return cls(
            Options(**fields["options"]),
            tuple(fields["classes"]),
            tuple(fields["image_shape"]),
            fields["train_images"],
            Position(**fields["position"]),
        )


class Checkpoints:
    """The checkpoints of the run in the directory ``out``.

    A checkpoint appears under its name when it is whole. The latest few are kept, and the one
    with the best accuracy of those that were saved with one.
    """

    def __init__(self, out: Path) -> None:
        self.folder = (out / FOLDER).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        latest = LatestN(KEPT)
        best = BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            create=False,
            best_fn=_accuracy,
            preservation_policy=AnyPreservationPolicy([latest, best]),
            cleanup_tmp_directories=True,  # what a killed run began to write
            enable_async_checkpointing=False,
            multiprocessing_options=_alone(),
        )
        with _quiet():
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
        _reserve(self.folder, sum(leaf.nbytes for leaf in jax.tree.leaves((variables, optimizer))))
        try:
            with _quiet():
                self._manager.save(record.position.step, args=items, metrics=metrics)
        except Exception as error:  # Orbax lets through whatever its storage raises
            raise _as_os_error(error) from error

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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Orbax and its threads print beside the exception that they raise in the end."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _reserve(folder: Path, size: int) -> None:
    """Raises the system's error where arrays of so many bytes have no room.

    Orbax would find out too, but in the middle, in threads that no one hears the end of.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size + OVERHEAD)


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, OSError):
        return error
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(first_line(error))


def has_checkpoints(out: Path) -> bool:
    """Whether the directory ``out`` holds a whole checkpoint; changes nothing."""
    folder = out / FOLDER
    return folder.is_dir() and any(each.name.isdecimal() for each in folder.iterdir())


def _accuracy(metrics: dict[str, float]) -> float:
    return metrics["accuracy"]


def read_record(path: Path) -> Record:
    """The record in the checkpoint at ``path``."""
    return Record.of(_read(ocp.JsonCheckpointHandler, path / "record"))


def restored(path: Path, like: Any) -> Any:
    """The arrays at ``path``, in a tree ``like`` this one, whose leaves have shapes and types."""
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    return _read(ocp.StandardCheckpointHandler, path, target)


def _read(handler: Callable[..., Any], path: Path, *target: Any) -> Any:
    alone = _alone()
    handled = handler(multiprocessing_options=alone)
    with ocp.Checkpointer(handled, multiprocessing_options=alone) as checkpointer:
        return checkpointer.restore(path, *target)


def _alone() -> ocp.options.MultiprocessingOptions:
    """For one process that reads or writes, and waits for no other."""
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="resfuse",
    )


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the weights that training gave it, and what its answers mean."""

    network: Network
    variables: Variables
    classes: tuple[str, ...]
    image_shape: Shape

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps images ``(b, H, W, C)``, values from 0 to 1, to probabilities ``(b, classes)``."""
        return np.asarray(self._fused(images))

    @functools.cached_property
    def _fused(self) -> Callable[[NDArray[np.float32]], Array]:
        def probabilities(images: NDArray[np.float32]) -> Array:
            logits, _ = self.network.apply(self.variables, jnp.asarray(images), False)
            return jax.nn.softmax(logits)

        return resfuse.fuse(probabilities)


def load_model(path: Path) -> TrainedModel:
    """Reads a checkpoint, or refuses what is none.

    Args:
        path: One checkpoint; or the directory of a run, whose best one is taken, and the latest
            where none was tested yet.
    """
    path = _chosen(path).absolute()
    try:
        record = read_record(path)
        options = record.options
        net = network(options.model, len(record.classes), record.image_shape)
        variables = restored(path / "variables", jax.eval_shape(lambda: net.init(options.seed)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        refuse(f"{path} is not a checkpoint of resfuse train: {first_line(error)}")
    return TrainedModel(net, variables, record.classes, record.image_shape)


def _chosen(path: Path) -> Path:
    if not path.is_dir():
        refuse(f"{path} is not a directory with a checkpoint")
    if not (path / FOLDER).is_dir():
        return path
    checkpoints = Checkpoints(path)
    step = checkpoints.latest if checkpoints.best is None else checkpoints.best
    if step is None:
        refuse(f"{path} holds no checkpoint yet")
    return checkpoints.path(step)


def first_line(error: Exception) -> str:
    """What an error says, as far as it fits on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
