"""Runs of ``resfuse train`` for the tests: ten steps on the digits, and what they leave."""

import csv
import functools
import struct
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner, Result

from data_files import write_mnist
from resfuse.cli.app import app
from resfuse.cli.training import command, run, trainer
from resfuse.cli.training.checkpoints import Checkpoints
from resfuse.cli.training.networks import network
from resfuse.cli.training.storage import restored

OPTIONS = ("--batch-size", 256, "--epochs", 2, "--seed", 3, "--augment", "--log-every", 1)


def small_data(folder: Path) -> tuple[object, ...]:
    """Writes data of the digits' shapes; the options, with which a run has as many steps.

    A process that reads them starts in less time than one that imports scikit-learn for its digits.
    """
    write_mnist(folder, train=1280, test=100, size=8)
    return (*OPTIONS, "--data", folder)


# Runs with equal options share their compiled programs, for compiling is most of what they do.
for module, function in (
    (run, "network"),
    (run, "learning_rate"),
    (run, "optimizer"),
    (trainer, "training_step"),
    (trainer, "evaluation"),
):
    setattr(module, function, functools.cache(getattr(module, function)))


def train(out: Path, *arguments: object, drawn: bool = False) -> Result:
    """``resfuse train`` in this process, with its two devices.

    The picture, which would take most of the time, is left empty unless it is to be ``drawn``.
    """
    with (
        jax.numpy_dtype_promotion("standard"),  # optax mixes types
        pytest.MonkeyPatch.context() as patch,
    ):
        if not drawn:
            patch.setattr(command, "_draw", lambda picture, *_: picture.touch())
        result = CliRunner().invoke(app, ["train", "--out", str(out), *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(out: Path) -> list[dict[str, str]]:
    """The metrics but for how fast it was, in which no two runs agree."""
    with (out / "metrics.csv").open() as table:
        return [
            {k: v for k, v in row.items() if k != "images_per_second"}
            for row in csv.DictReader(table)
        ]


def steps(out: Path) -> list[int]:
    """The checkpoints in ``out``."""
    names = [each.name for each in out.glob("checkpoints/*")]
    return sorted(int(name) for name in names if name.isdecimal())


def arrays(out: Path, step: int | None = None) -> list[np.ndarray]:
    """The weights and running statistics of the tiny network in a checkpoint, or in the last."""
    checkpoints = Checkpoints(out)
    path = checkpoints.path(checkpoints.latest if step is None else step)
    shapes = jax.eval_shape(lambda: network("tiny", 10, (8, 8, 1)).init(0))
    return jax.tree.leaves(restored(path / "variables", shapes))


def assert_same_bits(first: Path, second: Path) -> None:
    """The last checkpoints of both hold the same."""
    for a, b in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)


def events(file: Path) -> Iterator[Event]:
    """The events in a file: each has its length before it, and both have a checksum."""
    content = file.read_bytes()
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
