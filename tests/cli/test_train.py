"""What ``resfuse train`` leaves and says, and the book's recipe."""

import csv
import functools
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import Result

from data_files import write_mnist
from resfuse import d2l
from resfuse.cli import app
from resfuse.cli.training.trained import load_model
from training_runs import OPTIONS, events, steps, train


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train") / "made" / "for it"


@pytest.fixture(scope="module")
def result(out: Path) -> Result:
    with jax.numpy_rank_promotion("raise"):  # some users run everything so
        result = train(out, *OPTIONS, "--log-every", 2, drawn=True)
    assert result.exit_code == 0, result.output
    return result


def test_results_are_checkpoints_metrics_and_a_picture(result: Result, out: Path) -> None:
    names = ["checkpoints", "metrics.csv", "report.png", "tensorboard"]
    assert sorted(each.name for each in out.iterdir()) == names
    assert steps(out) == [0, 5, 10]
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert f"Wrote {out / 'report.png'} and {out / 'checkpoints' / '10'}" in result.stdout


def test_metrics_are_the_same_in_the_table_and_in_the_events(result: Result, out: Path) -> None:
    assert result.exit_code == 0
    with (out / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(int(row["step"]), row["of"]) for row in rows] == [
        (2, "step"),
        (4, "step"),
        (5, "epoch"),
        (6, "step"),
        (8, "step"),
        (10, "step"),
        (10, "epoch"),
    ]
    numbers = {
        (f"{row['of']}/{name}", int(row["step"])): float(value)
        for row in rows
        for name, value in row.items()
        if value and name not in ("step", "epoch", "of")
    }
    (file,) = (out / "tensorboard").iterdir()
    written = {
        (value.tag, event.step): value.simple_value
        for event in events(file)
        for value in event.summary.value
    }
    assert written == pytest.approx(numbers, rel=1e-6)


def test_lines_say_how_it_goes_where_there_is_no_terminal(result: Result) -> None:
    *_, last = result.stderr.splitlines()
    numbers = r"loss \d\.\d{4}  accuracy \d+\.\d%"
    pace = r"[\d,]+ images/s  0:00:00 left"
    line = rf"epoch 2/2  step 10/10  {numbers}  test {numbers.replace('accuracy', 'test accuracy')}"
    assert re.fullmatch(rf"{line}  {pace}", last)


def test_the_last_accuracy_is_that_of_the_checkpoint(result: Result, out: Path) -> None:
    """The model that comes out of it reads the test images as the table says."""
    from resfuse.cli.data import in_order, load

    assert result.exit_code == 0
    test = load("digits", size=None, seed=3).test
    with in_order(test, len(test)) as stream:
        images, labels = next(stream)
    right = load_model(out / "checkpoints" / "10").predict(images).argmax(-1) == labels
    with (out / "metrics.csv").open() as table:
        assert float(list(csv.DictReader(table))[-1]["test_accuracy"]) == right.mean()


def test_the_recipe_of_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the help, on few images and with a network of the book's that is smaller.

    The first loss is near that of guessing.
    """
    monkeypatch.setattr(d2l, "ResNet18", functools.partial(d2l.ResNet, arch=((1, 8),)))
    write_mnist(tmp_path / "fashion", train=12, test=2)
    assert app.train.__doc__
    recipe = app.train.__doc__.partition("resfuse train ")[2].partition("\n\n")[0].split()
    assert {"d2l-resnet18", "96", "128", "0.01", "10"} <= {*recipe}
    recipe[recipe.index("FOLDER")] = str(tmp_path / "fashion")
    out = tmp_path / "run"
    result = train(out, *recipe, "--batch-size", 4, "--epochs", 1, "--log-every", 1)
    assert result.exit_code == 0, result.output
    with (out / "metrics.csv").open() as table:
        losses = [float(row["loss"]) for row in csv.DictReader(table)]
    assert losses[0] == pytest.approx(math.log(10), abs=1.5)
    model = load_model(out)
    assert model.image_shape == (96, 96, 1)
    assert len(model.classes) == 10
    assert np.isfinite(model.predict(np.zeros((1, 96, 96, 1), np.float32))).all()
