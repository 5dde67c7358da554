"""Killed at any moment, a run loses nothing but the steps since its last checkpoint."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli_driver import COMMAND
from conftest import SWEEP_SEED
from training_runs import arrays, assert_same_bits, rows, small_data, steps, train

EVERY_STEP = ("--checkpoint-every", 1, "--log-every", 1)  # so that most moments are in a save


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(options: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing killed."""
    out = tmp_path_factory.mktemp("whole")
    assert train(out, *options).exit_code == 0
    return out


def start(out: Path, options: tuple[object, ...]) -> subprocess.Popen[str]:
    command = [*COMMAND, "train", "--out", out, "--resume", *options, *EVERY_STEP]
    pipe = subprocess.PIPE
    return subprocess.Popen(list(map(str, command)), stdout=pipe, stderr=pipe, text=True)


def wait_for_a_checkpoint_after(step: int, out: Path, process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 120
    while max(steps(out), default=-1) <= step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.001)


@pytest.mark.long  # CI runs all of these
@pytest.mark.parametrize("kills", [1, 5])
def test_a_run_that_is_killed_and_then_interrupted_ends_with_the_same_bits(
    kills: int, options: tuple[object, ...], whole: Path, tmp_path: Path
) -> None:
    seed = os.environ[SWEEP_SEED]
    print(f"{SWEEP_SEED}={seed}")
    moments = random.Random(seed)
    for sent in [*[signal.SIGKILL] * kills, signal.SIGINT]:
        with start(tmp_path, options) as process:
            wait_for_a_checkpoint_after(max(steps(tmp_path), default=-1), tmp_path, process)
            time.sleep(moments.uniform(0, 0.15))  # a step with its checkpoint takes about 0.1
            process.send_signal(sent)
            output, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            break  # it was faster
        arrays(tmp_path)  # the latest is whole
        if sent == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130
            assert "Traceback" not in errors
            assert f"continue with: resfuse train --resume --out {tmp_path}" in output
            assert max(steps(tmp_path)) == int(rows(tmp_path)[-1]["step"]) > 0
    assert train(tmp_path, "--resume", "--log-every", 1).exit_code == 0
    assert_same_bits(whole, tmp_path)
    assert rows(tmp_path) == rows(whole)
