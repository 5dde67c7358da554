"""Runs that cannot go on: the last good checkpoint stays, one line says why, the code is 1."""

import itertools
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import orbax.checkpoint as ocp
import pytest
import typer

from cli_driver import assert_refused
from resfuse.cli import data
from resfuse.cli.data.dataset import BadData
from resfuse.cli.training import command, run, trainer
from training_runs import OPTIONS, arrays, steps, train

EVERY_STEP = ("--checkpoint-every", 1)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses that steps report, in their order; after them the true ones."""
    losses: list[float] = []
    step = trainer.Trainer.step

    def reported(self: trainer.Trainer, batch: object) -> trainer.Outcome:
        outcome = step(self, batch)
        return outcome._replace(loss=losses.pop(0)) if losses else outcome

    monkeypatch.setattr(trainer.Trainer, "step", reported)
    return losses


def last_line(text: str) -> str:
    return text.splitlines()[-1]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run(
    loss: float, outcomes: list[float], tmp_path: Path
) -> None:
    outcomes += [2.0, 2.0, loss]
    result = train(tmp_path, *OPTIONS, *EVERY_STEP)
    assert result.exit_code == 1
    assert f"the loss is {loss} at step 3; the last checkpoint is" in last_line(result.stderr)
    assert f"{tmp_path}/checkpoints/2" in last_line(result.stderr)
    assert steps(tmp_path) == [0, 1, 2]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """The first update is too large; the loss before it was finite."""
    options = (*OPTIONS, "--optimizer", "sgd", "--weight-decay", 1e38, "--lr", 3e38)
    result = train(tmp_path, *options, *EVERY_STEP)
    assert result.exit_code == 1
    assert "not finite after step 1; the last checkpoint is" in last_line(result.stderr)
    assert steps(tmp_path) == [0]
    assert all(np.isfinite(array).all() for array in arrays(tmp_path))


@pytest.fixture
def full_from_step_3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From then on no file can be larger than 16 kB; to what writes, it is as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    step, calls = trainer.Trainer.step, []

    def filling(self: trainer.Trainer, batch: object) -> trainer.Outcome:
        calls.append(batch)
        if len(calls) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, before[1]))
        return step(self, batch)

    monkeypatch.setattr(trainer.Trainer, "step", filling)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_from_step_3")
def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    result = train(tmp_path, *OPTIONS, *EVERY_STEP)
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("resfuse"))
    assert f"cannot write into {tmp_path}: File too large; the last checkpoint is" in line
    assert "Traceback" not in result.stderr
    assert sorted(each.name for each in tmp_path.glob("checkpoints/*")) == ["0", "1", "2"]


def test_a_disk_that_fills_while_orbax_writes_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What Orbax raises then is no OSError."""

    def save(manager: object, step: int, **rest: object) -> None:
        if step == 2:
            raise ValueError("RESOURCE_EXHAUSTED: and so on\n[os_error_code='28']")
        true_save(manager, step, **rest)

    true_save = ocp.CheckpointManager.save
    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    result = train(tmp_path, *OPTIONS, *EVERY_STEP)
    assert result.exit_code == 1
    assert f"cannot write into {tmp_path}: No space left on device" in last_line(result.stderr)
    assert steps(tmp_path) == [0, 1]


def test_an_image_that_breaks_in_the_middle_loses_no_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def batches(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from itertools.islice(data.batches(*arguments, **options), 3)
        raise BadData("cat/7.png: broken image: truncated")

    with monkeypatch.context() as patch:
        patch.setattr(run, "batches", batches)
        result = train(tmp_path, *OPTIONS)
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("resfuse"))
    assert line.startswith("resfuse: cat/7.png: broken image: truncated; ")
    assert line.endswith(f"continue with: resfuse train --resume --out {tmp_path}")
    assert steps(tmp_path) == [0, 3]


def test_ctrl_c_is_held_back_only_in_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the data are loaded it ends the command at once."""
    handlers = []

    def load(*_: Any, **__: Any) -> NoReturn:
        handlers.append(signal.getsignal(signal.SIGINT))
        raise typer.Exit(3)

    monkeypatch.setattr(command, "load", load)
    assert train(tmp_path).exit_code == 3
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    why = "--batch-size 1438: digits has only 1437 training images"
    assert_refused("train", "--batch-size", 1438, "--out", tmp_path / "run", why=why)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--model", "resnet19"], "--model resnet19: it must be one of tiny, resnet18, "),
        (["--model", "vgg11_bn"], "images of 8x8 are not for vgg11_bn; --size makes others"),
        (["--data", "/nowhere"], "--data /nowhere: there is no such"),
        (["--lr", 0], "--lr 0: it must be positive"),
        (["--lr", "nan"], "--lr nan: it must be finite, and not negative"),
        (["--lr", "inf"], "--lr inf: it must be finite, and not negative"),
        (["--lr", -1], "--lr -1: it must be finite, and not negative"),
        (["--lr", 1e39], "--lr 1e+39: it must be finite, and not negative"),  # as a float32
        (["--weight-decay", "inf"], "--weight-decay inf: it must be finite"),
        (["--weight-decay", "nan"], "--weight-decay"),
        (["--optimizer", "sgd", "--momentum", "nan"], "--momentum"),
        (["--momentum", 0.5], "--momentum 0.5: adamw has none; sgd does"),
        (["--optimizer", "lion"], "--optimizer"),
        (["--schedule", "wsd"], "--schedule"),
        (["--epochs", 0], "--epochs"),
        (["--weight-decay", -1], "--weight-decay"),
        (["--resume"], "--resume: there is no directory"),
    ],
)
def test_bad_options_are_refused(options: list[object], why: str, tmp_path: Path) -> None:
    assert_refused("train", "--out", tmp_path / "run", *options, why=why)
    assert not (tmp_path / "run").exists()


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.touch()
    assert_refused("train", "--out", out, why=f"cannot write to {out}: it is not a directory")
