"""Orbax for one process: what it reads, what it says, and the room that it needs."""

import contextlib
import dataclasses
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from resfuse.cli.training.networks import Shape
from resfuse.cli.training.options import Options
from resfuse.cli.training.pretrained import Pretrained
from resfuse.cli.training.run import Position

OVERHEAD = 1 << 20  # bytes of a checkpoint that are not arrays, at most


@dataclasses.dataclass(frozen=True)
class Record:
    """All that going on and predicting need to know beside arrays.

    ``pretrained`` describes the network of the options' weights, if there are any.
    """

    options: Options
    classes: tuple[str, ...]
    image_shape: Shape
    train_images: int
    position: Position
    pretrained: dict[str, Any] | None = None

    @property
    def network(self) -> str | Pretrained:
        """What :func:`resfuse.cli.training.networks.network` makes it of."""
        if self.pretrained is not None:
            return Pretrained.from_description(self.pretrained)
        assert self.options.model is not None
        return self.options.model

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """The record from what :func:`dataclasses.asdict` made of it, after a trip through JSON."""
        return cls(
            Options(**fields["options"]),
            tuple(fields["classes"]),
            tuple(fields["image_shape"]),
            fields["train_images"],
            Position(**fields["position"]),
            fields.get("pretrained"),
        )


def read_record(path: Path) -> Record:
    """The record in the checkpoint at ``path``."""
    return Record.of(_read(ocp.JsonCheckpointHandler, path / "record"))


def restored(path: Path, like: Any) -> Any:
    """The arrays at ``path``, in a tree ``like`` this one, whose leaves have shapes and types."""
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    return _read(ocp.StandardCheckpointHandler, path, target)


def _read(handler: Callable[..., Any], path: Path, *target: Any) -> Any:
    options = alone()
    handled = handler(multiprocessing_options=options)
    with ocp.Checkpointer(handled, multiprocessing_options=options) as checkpointer:
        return checkpointer.restore(path, *target)


def alone() -> ocp.options.MultiprocessingOptions:
    """For one process that reads or writes, and waits for no other."""
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="resfuse",
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what Orbax and its threads print beside the exception that they raise in the end."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def reserve(folder: Path, size: int) -> None:
    """Raises the system's error where arrays of so many bytes have no room.

    Orbax would find out too, but in the middle, in threads that no one hears the end of.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size + OVERHEAD)


def as_os_error(error: Exception) -> OSError:
    """``error`` if it is one of the system's, else one that says the same."""
    if isinstance(error, OSError):
        return error
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(first_line(error))


def first_line(error: Exception) -> str:
    """What an error says, as far as it fits on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
