"""What all NNX networks share: modes, dropout, dtype, channels, feature maps, fusing."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import network_case
import resfuse
from resfuse import linen
from resfuse import nnx as networks
from resfuse.models.architectures import Architecture
from resfuse.models.convnext import ConvNeXtArchitecture
from resfuse.models.densenet import DenseNetArchitecture
from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.regnet import RegNetArchitecture
from resfuse.models.resnetv2 import ResNetV2Architecture
from resfuse.models.vgg import VGGArchitecture
from resfuse.weights.variables import by_path
from sampling import some

V3 = MOBILENETS["MobileNetV3Small"]
TINY = {
    "ConvNeXt": ConvNeXtArchitecture((1, 2), (8, 16), 0.5, layer_scale=1.0),
    "DenseNet": DenseNetArchitecture((2, 2), growth=4),
    "MobileNet": dataclasses.replace(
        V3, stages=V3.stages[:2], head_features=16, hidden_features=8, stochastic_depth=0.5
    ),
    "RegNet": RegNetArchitecture(3, 8, 8, 1.5, 8, squeeze=0.25),
    "VGG": VGGArchitecture((1, 1), (4, 8), 8),
}
DROPS = ("ConvNeXt", "MobileNet", "VGG")
RESNETS = {  # whose modes and fusing have tests of their own
    "ResNet": Architecture("bottleneck", (1, 1), features=8, stem="deep", attention="eca"),
    "ResNetV2": ResNetV2Architecture("bottleneck", (1, 2), (16, 32), 8, keras=True),
}
ALL = TINY | RESNETS


def build(name, *args, **options):
    return network_case.filled(getattr(networks, name), ALL[name], *args, **options)


@pytest.mark.parametrize("name", some(2, TINY))
def test_modes(name):
    """Inference draws nothing and changes nothing; training drops where the paper does."""
    model, x = build(name, 5), agreement.images(8, 32, 32, 3)
    run = nnx.jit(lambda model, x: model(x))
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Not(nnx.RngState)))
    logits = run(model, x)
    assert logits.shape == (8, 5)
    np.testing.assert_array_equal(logits, run(model, x))
    agreement.assert_identical(before, nnx.state(model, nnx.Not(nnx.RngState)))
    model.train()
    first, second = run(model, x), run(model, x)
    assert bool((first == second).all()) == (name not in DROPS)


@pytest.mark.parametrize("name", some(2, ALL))
def test_feature_maps_alone(name):
    """Of one image without a batch axis, by the same variables but for those of the head."""
    whole = build(name, in_channels=1)
    maps = build(name, in_channels=1, features_only=True)
    ours, theirs = (dict(nnx.to_flat_state(nnx.state(model))) for model in (maps, whole))
    assert ours.keys() < theirs.keys()
    assert maps.preprocess is ALL[name].preprocessing
    nnx.update(maps, nnx.from_flat_state({path: theirs[path] for path in ours}))
    x = agreement.images(32, 32, 1)
    expected = jax.jit(whole.features)(x[None])
    agreement.assert_near(jax.jit(maps)(x), [np.asarray(y[0]) for y in expected])


@pytest.mark.parametrize("name", ALL)
def test_computes_in_another_dtype(name):
    model = build(name, 5, dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm mixes
        logits = jax.eval_shape(model, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32))
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize("name", RESNETS)
def test_linens_options_are_the_same(name):
    """Of feature maps, the shapes and variables of NNX; in another dtype, logits of it."""
    x, key = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32), agreement.key(0)
    make = functools.partial(getattr(linen, name), ALL[name])
    maps, variables = jax.eval_shape(
        lambda x: make(features_only=True).init_with_output(key, x, use_running_average=True), x
    )
    theirs = build(name, features_only=True)
    assert [y.shape for y in maps] == [y.shape for y in jax.eval_shape(theirs, x)]
    ours = by_path(nnx.to_pure_dict(nnx.state(theirs)))
    assert {path: leaf.shape for path, leaf in by_path(variables).items()} == {
        path: leaf.shape for path, leaf in ours.items()
    }
    model = make(num_classes=5, dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):
        logits, variables = jax.eval_shape(
            lambda x: model.init_with_output(key, x, use_running_average=True), x
        )
    assert (logits.shape, logits.dtype) == ((1, 5), jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", some(2, TINY))
def test_fuses(capsys, name):
    model, x = build(name, 5), agreement.images(2, 32, 32, 3)
    expected = jax.jit(model)(x)
    fused = resfuse.fuse(lambda x: model(x))
    agreement.assert_near(fused(x), np.asarray(expected))
    resfuse.explain(fused, x)
    assert re.search(r"^(\d+) of \1 convolutions", capsys.readouterr().out, re.MULTILINE)


def _normal(values, deviation):
    np.testing.assert_allclose(values.std(), deviation, rtol=0.2)


def _uniform(values, bound):
    np.testing.assert_allclose(np.abs(values).max(), bound, rtol=0.1)


def _constant(values, value):
    assert (values == np.float32(value)).all()


INITIAL = [
    ("MobileNet", {}, "stages.0.0.depthwise.conv.kernel", _normal, (2 / (9 * 16)) ** 0.5),
    ("MobileNet", {}, "classifier.fc.kernel", _normal, 0.01),
    ("MobileNet", {"uniform_init": True}, "classifier.fc.kernel", _uniform, 100**-0.5),
    ("ConvNeXt", {}, "stem.conv.kernel", _normal, 0.02),
    ("ConvNeXt", {"layer_scale": 1e-6}, "stages.0.blocks.0.gamma", _constant, 1e-6),
    ("DenseNet", {}, "denseblocks.0.0.conv2.kernel", _normal, (2 / (9 * 16)) ** 0.5),
    ("DenseNet", {}, "classifier.kernel", _uniform, 16**-0.5),
    ("RegNet", {}, "stem.conv.kernel", _normal, (2 / (9 * 32)) ** 0.5),
    ("RegNet", {}, "fc.kernel", _normal, 0.01),
    ("VGG", {}, "stages.1.0.conv.kernel", _normal, (2 / (9 * 8)) ** 0.5),
    ("VGG", {}, "classifier.fc1.kernel", _normal, 0.01),
]


@functools.cache
def initial(name, **changes):
    """Values by path, which one program draws."""
    architecture = dataclasses.replace(network_case.steady(TINY[name]), **changes)

    @jax.jit
    def values():
        model = getattr(networks, name)(architecture, 100, rngs=agreement.same_key())
        return nnx.state(model, nnx.Param)

    return {
        ".".join(map(str, path)): np.asarray(leaf) for path, leaf in nnx.to_flat_state(values())
    }


@pytest.mark.parametrize(("name", "changes", "path", "check", "size"), some(3, INITIAL))
def test_initial_values(name, changes, path, check, size):
    values = initial(name, **changes)
    check(values[path], size)
    assert all((leaf == 0).all() for path, leaf in values.items() if path.endswith(".bias"))
