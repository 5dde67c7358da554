"""Two processes train as one would; when one dies, the run ends, and can be continued."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from cli_driver import COMMAND, assert_refused
from resfuse.cli.training import lifeline
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.lifeline import Lifeline
from resfuse.cli.training.networks import network
from resfuse.cli.training.trainer import Trainer
from training_runs import rows, small_data, steps, train

EVERY_STEP = ("--checkpoint-every", 1, "--log-every", 1)
ENDED = "resfuse: another process of the run has ended or cannot be reached"
NUMBERS = ("loss", "accuracy", "test_loss")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(options: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run in one process."""
    out = tmp_path_factory.mktemp("alone")
    assert train(out, *options, "--checkpoint-every", 4).exit_code == 0
    return out


@contextlib.contextmanager
def two_processes(out: Path, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    """``resfuse train`` in two processes with one device each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    options = ["--out", out, "--coordinator", address, "--num-processes", 2, *arguments]
    processes = [
        subprocess.Popen(
            [*COMMAND, "train", *map(str, options), "--process-id", str(index)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
        )
        for index in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def kill(processes: list[subprocess.Popen[str]], victim: int, out: Path, step: int) -> str:
    """Kills one when there is a checkpoint of the step; returns what the other one says."""
    give_up = time.monotonic() + 120
    while max(steps(out), default=0) < step:
        assert time.monotonic() < give_up
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    killed, left = processes[victim], processes[1 - victim]
    killed.kill()
    _, errors = left.communicate(timeout=60)
    assert left.returncode == 1
    return errors


def assert_same_curve(got: list[dict[str, str]], one: list[dict[str, str]]) -> None:
    """Equal up to what rounding makes of it in so many steps."""
    for a, b in zip(got, one, strict=True):
        assert (a["step"], a["of"]) == (b["step"], b["of"])
        for name in NUMBERS:
            if b[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-3, abs=1e-2), (a, b)


@pytest.mark.long  # CI runs all of these
@pytest.mark.parametrize("victim", [0, 1])
def test_two_processes_do_as_one_until_one_dies_and_then_one_goes_on(
    victim: int, options: tuple[object, ...], alone: Path, tmp_path: Path
) -> None:
    """The first run begins in two processes, the second goes on in two after it began in one."""
    out, given = tmp_path / "run", options
    if victim == 0:
        shutil.copytree(alone, out)
        given = ("--resume",)
        for step in steps(out)[1:]:
            shutil.rmtree(out / "checkpoints" / str(step))
    with two_processes(out, *given, *EVERY_STEP) as processes:
        errors = kill(processes, victim, out, 6)
    assert errors.splitlines()[-1] == ENDED
    for other in ("Traceback", "stack trace"):
        assert other not in errors
    done = int(rows(out)[-1]["step"])
    assert 6 <= done < 10
    assert_same_curve(rows(out), rows(alone)[: len(rows(out))])
    assert train(out, "--resume", "--log-every", 1).exit_code == 0
    assert_same_curve(rows(out), rows(alone))


def test_processes_that_are_done_wait_for_each_other() -> None:
    lost: list[int] = []
    with socketpair() as ends:
        first, second = (Lifeline([end], lambda i=i: lost.append(i)) for i, end in enumerate(ends))
        closing = threading.Thread(target=first.close)
        closing.start()
        assert closing.is_alive()
        second.close()
        closing.join(10)
        assert not closing.is_alive()
    assert not lost


@pytest.mark.parametrize("silent", [False, True])
def test_a_process_that_ends_or_falls_silent_is_lost(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "SILENT_FOR", 0.2 if silent else 60)
    monkeypatch.setattr(lifeline, "EVERY", 0.01)
    lost = threading.Event()
    with socketpair() as (here, there):
        Lifeline([here], lost.set)
        if not silent:
            assert there.recv(1) == lifeline.ALIVE
            there.close()
        assert lost.wait(10)


@contextlib.contextmanager
def socketpair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_only_sums_travel_between_devices() -> None:
    """No device asks for images or activations of another."""
    devices = Devices.all()
    assert devices.count == 2
    trainer = Trainer(network("tiny", 10, (8, 8, 1)), optax.sgd(0.1), devices, 0)
    images, labels = np.zeros((4, 8, 8, 1), np.float32), np.zeros(4, np.int32)
    lowered = trainer.compiled_step.lower(trainer.state, *devices.spread((images, labels)))
    program = lowered.compile().as_text()
    assert "all-reduce" in program
    for other in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert other not in program


def test_images_are_split_and_weights_are_everywhere() -> None:
    devices = Devices.all()
    images = devices.spread(np.arange(12, dtype=np.float32).reshape(4, 3))
    weights = devices.copied({"w": np.ones(3)})["w"]
    assert [shard.data.shape for shard in images.addressable_shards] == [(2, 3), (2, 3)]
    assert [shard.data.shape for shard in weights.addressable_shards] == [(3,), (3,)]
    assert devices.shard == (0, jax.process_count())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--coordinator", "host:1"], "must be given together"),
        (["--num-processes", 2, "--process-id", 0], "must be given together"),
        (
            ["--coordinator", "host", "--num-processes", 2, "--process-id", 0],
            "--coordinator host: it must be HOST:PORT",
        ),
        (
            ["--coordinator", "host:1", "--num-processes", 2, "--process-id", 2],
            "--process-id 2: it must be less than --num-processes 2",
        ),
        (["--batch-size", 33], "--batch-size 33: it must be a multiple of 2"),
    ],
)
def test_what_does_not_fit_is_refused(options: list[object], why: str, tmp_path: Path) -> None:
    assert_refused("train", "--out", tmp_path / "run", *options, why=why)
    assert not (tmp_path / "run").exists()
