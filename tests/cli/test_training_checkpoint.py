"""Which checkpoints are kept, and what is read from them."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import typer

from resfuse.cli.training.checkpoints import Checkpoints
from resfuse.cli.training.networks import Variables, network
from resfuse.cli.training.options import Options
from resfuse.cli.training.run import Position
from resfuse.cli.training.storage import Record
from resfuse.cli.training.trained import load_model
from resfuse.cli.training.trainer import State

SHAPE = (8, 8, 1)
CLASSES = ("no", os.fsdecode(b"\xe9"))


@pytest.fixture(scope="module")
def state() -> State:
    return State(network("tiny", len(CLASSES), SHAPE).init(0), {"count": np.int32(3)})


@pytest.fixture
def checkpoints(tmp_path: Path, state: State) -> Checkpoints:
    """Of six steps, of which the second and the fifth were tested."""
    checkpoints = Checkpoints(tmp_path, writes=True)
    record = Record(Options.of({}), CLASSES, SHAPE, 100, Position())
    for step, accuracy in enumerate([None, 0.9, None, None, 0.8, None], 1):
        at = dataclasses.replace(record, position=Position(step, 0.1, 7))
        checkpoints.save(marked(state, step), at, accuracy)
    return checkpoints


def marked(state: State, step: int) -> State:
    """The state with one weight that tells the step."""
    params, statistics = state.variables
    leaves, tree = jax.tree.flatten(params)
    leaves[0] = np.full_like(leaves[0], step)
    return state._replace(variables=Variables(jax.tree.unflatten(tree, leaves), statistics))


def mark(variables: Variables) -> float:
    return float(np.ravel(jax.tree.leaves(variables.params)[0])[0])


def test_the_latest_are_kept_and_the_best(checkpoints: Checkpoints) -> None:
    names = sorted(each.name for each in checkpoints.folder.iterdir())
    assert names == ["2", "4", "5", "6"]
    assert (checkpoints.latest, checkpoints.best) == (6, 2)


def test_all_comes_back(checkpoints: Checkpoints, state: State) -> None:
    again = checkpoints.state(6, state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, marked(state, 6))
    record = checkpoints.latest_record()
    assert record == Record(Options.of({}), CLASSES, SHAPE, 100, Position(6, 0.1, 7))


def test_predictions_come_from_the_best_or_from_the_one_that_is_named(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    model = load_model(tmp_path)
    assert mark(model.variables) == 2
    assert mark(load_model(checkpoints.path(5)).variables) == 5
    assert (model.classes, model.image_shape) == (CLASSES, SHAPE)
    images = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    probabilities = model.predict(images)
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([], "holds no checkpoint yet"),
        (["checkpoints/7"], "checkpoints/7 is not a checkpoint of resfuse train"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    made: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ["checkpoints", *made]:
        (tmp_path / folder).mkdir()
    with pytest.raises(typer.Exit):
        load_model(tmp_path / made[0] if made else tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
