"""Checkpoints of Orbax: as Flax users write them, of NNX and of Linen."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import agreement
import network_case
from resfuse import linen
from resfuse import nnx as networks
from resfuse.models.architectures import Architecture
from resfuse.models.mobilenet import MOBILENETS
from resfuse.weights.errors import MismatchError, WeightsError

TINY = Architecture("bottleneck", (1, 2), 2, 8, 16)


def save(path, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return path


@pytest.fixture(scope="module")
def model():
    return network_case.filled(networks.ResNet, TINY, 5)


def assert_loads(path, model):
    """The same variables, bit for bit."""
    found = networks.load(path)
    assert found.bn1.use_running_average
    agreement.assert_identical(
        nnx.to_pure_dict(nnx.state(found)), nnx.to_pure_dict(nnx.state(model))
    )


def as_linen(model):
    """The same variables in Linen's collections."""
    names = {"params": ("kernel", "bias", "scale"), "batch_stats": ("mean", "var")}
    flat = nnx.to_flat_state(nnx.state(model))
    variables = {}
    for path, leaf in flat:
        collection = next(key for key, leaves in names.items() if path[-1] in leaves)
        at = variables.setdefault(collection, {})
        for part in path[:-1]:
            at = at.setdefault(str(part), {})
        at[path[-1]] = leaf[...]
    return variables


WRITTEN = {
    "state": nnx.state,
    "pure dictionary": lambda model: nnx.to_pure_dict(nnx.state(model)),
    "variables": as_linen,
    "among others": lambda model: {
        "model": nnx.state(model),
        "optimizer": {"count": jnp.ones(())},
    },
}


@pytest.mark.parametrize("tree", WRITTEN.values(), ids=WRITTEN)
def test_trees_of_every_kind(tmp_path, model, tree):
    assert_loads(save(tmp_path / "checkpoint", tree(model)), model)


def test_the_last_of_a_managers_steps(tmp_path, model):
    other = jax.tree.map(jnp.zeros_like, nnx.state(model))
    with ocp.CheckpointManager(tmp_path) as manager:
        for step, state in {9: other, 10: nnx.state(model)}.items():
            manager.save(step, args=ocp.args.StandardSave(state))
    assert_loads(tmp_path, model)


def test_linen(tmp_path, model):
    variables = as_linen(model)
    module, found = linen.load(save(tmp_path / "checkpoint", variables))
    agreement.assert_identical(found, variables)
    assert module.architecture == TINY


def test_a_network_with_dropout_is_recognized(tmp_path):
    small = network_case.filled(networks.MobileNet, MOBILENETS["MobileNetV3Small"], 3)
    state = nnx.state(small, nnx.Not(nnx.RngKey))  # whose dtype this Orbax cannot write
    found = networks.load(save(tmp_path / "checkpoint", state))
    np.testing.assert_array_equal(found.classifier.fc.kernel[...], small.classifier.fc.kernel[...])


def test_differences_are_named(tmp_path, model):
    pure = nnx.to_pure_dict(nnx.state(model))
    del pure["bn1"]["mean"]
    with pytest.raises(MismatchError, match=r"missing \(1\): bn1\.mean"):
        networks.load(save(tmp_path / "checkpoint", pure))


def test_folders_that_are_no_checkpoints(tmp_path, model):
    with pytest.raises(WeightsError, match="is a folder, and no checkpoint of Orbax"):
        networks.load(tmp_path)
    path = save(tmp_path / "checkpoint", nnx.state(model))
    (path / "_METADATA").write_text("{")
    with pytest.raises(WeightsError, match="the checkpoint is broken"):
        networks.load(path)
