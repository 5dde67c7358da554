"""Pre-activation ResNets of both APIs against timm's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
import network_case
import torch_weights
from resfuse import linen
from resfuse import nnx as rnnx
from resfuse.models.resnetv2 import RESNETS_V2, ResNetV2Architecture
from sampling import long_but, some

CHANNELS = [64, 256, 512, 1024, 2048]
PARAMETERS = {  # timm's, and the channels of its feature maps
    "ResNetV2_18": (11_687_720, [64, 64, 128, 256, 512]),
    "ResNetV2_34": (21_795_880, [64, 64, 128, 256, 512]),
    "ResNetV2_50": (25_549_352, CHANNELS),
    "ResNetV2_50D": (25_568_584, CHANNELS),
    "ResNetV2_50D_GN": (25_568_584, CHANNELS),
    "ResNetV2_50x1_BiT": (25_549_352, CHANNELS),
    "ResNetV2_101": (44_541_480, CHANNELS),
    "ResNetV2_101x1_BiT": (44_541_480, CHANNELS),
}
QUICK = ("ResNetV2_18", "ResNetV2_50x1_BiT")

# What ``ResNetV2`` of timm 1.0.31 gives, in float64, with the weights of ``torch_weights`` and one
# image of 73x70.
SIZE = (73, 70)
TINY = {
    "plain": ResNetV2Architecture("bottleneck", (2, 1, 1, 1), (32, 64, 96, 128), 32),
    "deep": ResNetV2Architecture("basic", (1, 2, 1, 1), (32, 48, 64, 80), 32, deep=True),
    "group norm": ResNetV2Architecture(
        "bottleneck", (1, 1, 1, 1), (128, 128, 256, 256), 64, deep=True, norm="group"
    ),
    "BiT": ResNetV2Architecture(
        "bottleneck", (1, 1, 1, 1), (128, 128, 256, 256), 32, norm="group", big_transfer=True
    ),
}
LOGITS = {
    "plain": [1.808476, 0.25618103, 0.59108222, 1.34391135, 2.47459376],
    "deep": [-1.08829304, -1.29101011, -0.1915314, 0.13976416, 0.36633114],
    "group norm": [-0.00352987, 0.15003503, 0.12457403, -0.53901951, 0.72861112],
    "BiT": [-0.19792262, 0.39421971, 0.19672983, -0.60089729, 0.27408053],
}


@pytest.mark.parametrize(
    "name",
    long_but(QUICK, PARAMETERS),
)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(rnnx.ResNetV2, RESNETS_V2[name])
    network_case.assert_parameters_and_channels(model, *PARAMETERS[name])
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(getattr(linen, name)().init, agreement.key(0), x)
    params = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in params) == PARAMETERS[name][0]


@pytest.mark.parametrize("name", some(2, TINY))
def test_nnx_agrees_with_timm(name):
    model = network_case.abstract(rnnx.ResNetV2, TINY[name], 5)
    network_case.assert_torch_logits(model, "timm", LOGITS[name], SIZE)


@pytest.mark.parametrize("name", some(2, reversed(TINY)))
def test_linen_agrees_with_timm(name):
    model, shape = linen.ResNetV2(TINY[name], num_classes=5), (*SIZE, 3)
    shapes = jax.eval_shape(model.init, agreement.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    variables = {kind: torch_weights.fill(tree, str) for kind, tree in shapes.items()}
    run = jax.jit(functools.partial(model.apply, use_running_average=True))
    agreement.assert_near(run(variables, torch_weights.image(*shape)), np.asarray(LOGITS[name]))


@pytest.mark.parametrize("name", some(1, ["plain", "group norm"]))
def test_one_image_and_feature_maps_alone(name):
    whole = network_case.filled(rnnx.ResNetV2, TINY[name], 5)
    maps = network_case.filled(rnnx.ResNetV2, TINY[name], features_only=True)
    x = agreement.images(2, *SIZE, 3)
    one, both = jax.jit(lambda x: (whole(x[0]), whole(x)[0]))(x)
    agreement.assert_near(one, np.asarray(both))
    ours, theirs = (jax.eval_shape(run, x) for run in (maps, whole.features))
    assert [y.shape for y in ours] == [y.shape for y in theirs]


def test_linen_trains():
    model, x = linen.ResNetV2(TINY["plain"], num_classes=5), agreement.images(2, *SIZE, 3)
    variables = agreement.filled(jax.eval_shape(model.init, agreement.key(0), x))
    _, after = jax.jit(functools.partial(model.apply, mutable=["batch_stats"]))(variables, x)
    before = variables["batch_stats"]
    assert jax.tree.all(
        jax.tree.map(lambda old, new: (old != new).any(), before, after["batch_stats"])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "wide"}, 'block must be "basic" or "bottleneck", got .wide.'),
        ({"norm": "layer"}, 'norm must be "batch" or "group", got .layer.'),
    ],
)
def test_wrong_architectures(changes, message):
    with pytest.raises(ValueError, match=message):
        ResNetV2Architecture(**({"block": "basic", "depths": (1,)} | changes))
