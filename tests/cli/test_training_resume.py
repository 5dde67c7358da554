"""A run that was broken and continued ends as if it had not been."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import SessionLog

from cli_driver import assert_refused
from resfuse.cli import data
from resfuse.cli.training import command
from training_runs import OPTIONS, arrays, assert_same_bits, events, rows, steps, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing broke, with checkpoints of steps within epochs."""
    out = tmp_path_factory.mktemp("whole")
    result = train(out, *OPTIONS, "--checkpoint-every", 3)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """The same run, as if it had been killed after step 8: the last checkpoint is of step 6."""
    out = tmp_path / "broken"
    shutil.copytree(whole, out)
    (out / "report.png").unlink()
    for step in (9, 10):
        shutil.rmtree(out / "checkpoints" / str(step))
    return out


def test_a_continued_run_ends_with_the_same_bits(whole: Path, broken: Path) -> None:
    assert train(broken, "--resume", "--log-every", 1).exit_code == 0
    assert_same_bits(whole, broken)
    assert rows(broken) == rows(whole)
    assert (broken / "report.png").exists()


def test_tensorboard_is_told_what_to_forget(broken: Path) -> None:
    assert train(broken, "--resume", "--log-every", 1).exit_code == 0
    (file,) = broken.glob("tensorboard/*.from-6")
    _, start, first, *_ = events(file)
    assert (start.step, start.session_log.status) == (7, SessionLog.START)
    assert first.step == 7


def test_other_data_are_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **options: Any) -> data.Dataset:
        return dataclasses.replace(data.load(*args, **options), classes=tuple("abcdefghij"))

    monkeypatch.setattr(command, "load", load)
    result = train(whole, "--resume")
    assert result.exit_code == 2
    assert f"--resume: {whole} was trained on other data: classes ['0', " in result.stderr


def test_half_a_line_of_metrics_and_half_a_checkpoint_are_forgotten(
    whole: Path, broken: Path
) -> None:
    with (broken / "metrics.csv").open("a") as table:
        table.write("9,2,st")
    (broken / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
    half = broken / "checkpoints" / "4"  # was being removed
    shutil.copytree(broken / "checkpoints" / "6", half)
    shutil.rmtree(half / "variables")
    assert train(broken, *OPTIONS, "--resume").exit_code == 0
    assert_same_bits(whole, broken)
    assert rows(broken) == rows(whole)
    assert not list(broken.glob("checkpoints/*tmp*"))


def test_a_finished_run_changes_no_more(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    (out / "report.png").unlink()
    assert train(out, "--resume").exit_code == 0
    assert rows(out) == rows(whole)
    assert steps(out) == steps(whole)
    assert (out / "report.png").exists()


def test_other_options_are_refused_by_name(whole: Path) -> None:
    wrong = ("--resume", "--model", "resnet18", "--seed", 3, "--lr", 0.5)
    why = "--model is tiny there, and resnet18 here; --lr is 0.002 there, and 0.5 here"
    assert_refused("train", "--out", whole, *wrong, why=why)


def test_a_run_is_not_overwritten(whole: Path) -> None:
    before = arrays(whole)
    assert_refused("train", "--out", whole, why="add --resume to continue it, or choose another")
    assert len(arrays(whole)) == len(before)
