"""`resfuse train --weights`: what starts with published weights, what stays, what is learned."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from typer.testing import CliRunner

import resfuse
from cli_driver import assert_refused
from data_files import write_classes
from resfuse.cli.app import app
from resfuse.cli.data import Dataset
from resfuse.cli.training.checkpoints import Checkpoints
from resfuse.cli.training.finetuning import fine_tuned
from resfuse.cli.training.networks import Variables, network
from resfuse.cli.training.parts import names_in, within
from resfuse.cli.training.pretrained import Pretrained
from resfuse.cli.training.rates import learning_rate, optimizer, scaled
from resfuse.cli.training.storage import read_record, restored
from resfuse.weights.families import FAMILIES
from tiny_weights import SIZE, write_weights
from training_runs import steps, train

OPTIONS = ("--epochs", 2, "--batch-size", 4, "--checkpoint-every", 1, "--freeze", "stem, layer1")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, after which the weights are gone."""
    folder = tmp_path_factory.mktemp("finetuned")
    file, _ = write_weights(folder)
    write_classes(folder / "data", classes=("ape", "bee"))
    options = ("--data", folder / "data", "--weights", file, "--lr", 0.02, *OPTIONS)
    result = train(folder / "run", *options)
    assert result.exit_code == 0, result.output
    assert "a new head of 2 classes" in result.stderr
    file.unlink()
    return folder / "run"


def variables(out: Path, step: int) -> dict[str, Any]:
    """All that a checkpoint has learned, by paths."""
    path = Checkpoints(out).path(step)
    record = read_record(path)
    net = network(record.network, 2, record.image_shape)
    found = restored(path / "variables", jax.eval_shape(lambda: net.init(0)))
    return dict(zip(names_in(tuple(found)), jax.tree.leaves(tuple(found)), strict=True))


def test_frozen_parts_stay_and_all_others_learn(out: Path) -> None:
    kept = steps(out)
    assert read_record(Checkpoints(out).path(kept[-1])).image_shape == (SIZE, SIZE, 3)
    first, last = (variables(out, step) for step in (kept[0], kept[-1]))
    changes = {name: np.abs(last[name] - first[name]).max() for name in first}
    frozen = {name for name in changes if within(name, ("conv1", "bn1", "layer1"))}
    assert frozen >= {"conv1.kernel", "bn1.mean", "layer1.0.bn2.var", "layer1.0.conv1.kernel"}
    assert {name for name, change in changes.items() if not change} == frozen


def test_the_head_learns_at_the_rate_and_what_was_loaded_at_a_tenth(out: Path) -> None:
    record = read_record(Checkpoints(out).path(steps(out)[-1]))
    empty: Any = ()
    data = Dataset(empty, empty, record.classes, record.image_shape)
    published = record.network
    assert isinstance(published, Pretrained)
    options = dataclasses.replace(record.options, optimizer="sgd", momentum=0.0)
    _, factor = fine_tuned(published, options, data, resumed=True)
    rule = scaled(optimizer(options, learning_rate(options, 1)), factor)
    gradients = {"conv1": {"kernel": jnp.ones(2)}, "layer2": jnp.ones(2), "fc": jnp.ones(2)}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        updates, _ = rule.update(gradients, rule.init(gradients), gradients)
    rates = {
        path: float(-leaf[0])
        for path, leaf in zip(names_in(updates), jax.tree.leaves(updates), strict=True)
    }
    assert rates == pytest.approx({"conv1.kernel": 0, "layer2": 0.002, "fc": 0.02}, rel=1e-3)


def test_a_run_that_has_ended_needs_no_weights_to_be_continued(out: Path, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    shutil.copytree(out, ended)
    result = train(ended, "--resume")
    assert result.exit_code == 0, result.output
    assert steps(ended) == steps(out)


@pytest.mark.long
def test_a_continued_run_ends_with_the_same_bits(out: Path, tmp_path: Path) -> None:
    """Without the file of weights, from the first checkpoint that is left."""
    broken = tmp_path / "broken"
    shutil.copytree(out, broken)
    _, *later = steps(broken)
    assert later
    for step in later:
        shutil.rmtree(broken / "checkpoints" / str(step))
    result = train(broken, "--resume")
    assert result.exit_code == 0, result.output
    for name, array in variables(broken, 4).items():
        np.testing.assert_array_equal(array, variables(out, 4)[name])


def test_predict_takes_such_a_run(out: Path) -> None:
    picture = out.parent / "data" / "ape" / "0.png"
    result = CliRunner().invoke(app, ["predict", str(out), str(picture), "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert {line.split(",")[2] for line in result.stdout.splitlines()[1:]} == {"ape", "bee"}


def test_convert_writes_what_such_a_run_has_learned(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "trained.safetensors"
    arguments = ["convert", str(out), str(file), "--scheme", "timm"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    best = Checkpoints(out).best
    assert best is not None
    learned = variables(out, best)
    found = nnx.state(resfuse.nnx.load(file))
    for name, array in zip(names_in(found), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(array, learned[name])


def test_grey_images_are_three_channels_normalized_in_the_network() -> None:
    published = Pretrained("VGG", FAMILIES["VGG"].table["VGG11"], False)
    preprocess = published.architecture.preprocessing
    grey = np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 2, 4, 1)
    expected = (grey - np.float32(preprocess.mean)) / np.float32(preprocess.deviation)
    np.testing.assert_allclose(published.prepared(grey), expected, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_description_says_all(family: str) -> None:
    for architecture in FAMILIES[family].table.values():
        published = Pretrained(family, architecture, False)
        described = json.loads(json.dumps(published.described()))
        assert Pretrained.from_description(described) == published


def test_dropout_draws_anew_in_each_step_and_the_same_from_the_same_state() -> None:
    whole = FAMILIES["MobileNet"].table["MobileNetV2"]
    small = dataclasses.replace(whole, stages=whole.stages[:1], head_features=16, dropout=0.5)
    net = network(Pretrained("MobileNet", small, False), 2, (8, 8, 3))
    variables, images = net.init(0), jnp.ones((2, 8, 8, 3))
    assert all(leaf.dtype in (jnp.float32, jnp.uint32) for leaf in jax.tree.leaves(variables))
    apply = jax.jit(
        lambda statistics: net.apply(Variables(variables.params, statistics), images, True)
    )
    first, changed = apply(variables.statistics)
    again, _ = apply(variables.statistics)
    other, _ = apply(changed)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--freeze", "layer9"], "--freeze layer9: it must be one of "),
        (["--model", "resnet18"], "--model resnet18: --weights say which network it is"),
        (["--loaded-lr", "nan"], "--loaded-lr nan: it must be finite"),
    ],
)
def test_bad_options_are_refused(options: list[object], why: str, tmp_path: Path) -> None:
    file, _ = write_weights(tmp_path)
    assert_refused("train", "--out", tmp_path / "run", "--weights", file, *options, why=why)


def test_options_that_need_weights_are_refused_without(tmp_path: Path) -> None:
    for options in (("--freeze", "stem"), ("--loaded-lr", 0.1)):
        why = f"{options[0]} {options[1]}: there are no --weights"
        assert_refused("train", "--out", tmp_path / "run", *options, why=why)
