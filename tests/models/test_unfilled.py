"""Networks of ``resfuse.nnx`` without values: but for those, as Flax makes them."""

import dataclasses

import jax
import pytest
from flax import nnx

from resfuse import nnx as networks
from resfuse.models.architectures import Architecture
from resfuse.models.convnext import ConvNeXtArchitecture
from resfuse.models.densenet import DenseNetArchitecture
from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.regnet import RegNetArchitecture
from resfuse.models.resnetv2 import ResNetV2Architecture
from resfuse.models.vgg import VGGArchitecture
from resfuse.nnx.unfilled import Unfilled, unfilled

V3 = MOBILENETS["MobileNetV3Small"]
ARCHITECTURES = {
    "ConvNeXt": ConvNeXtArchitecture((1, 1), (8, 16), 0.5, layer_scale=1.0),
    "DenseNet": DenseNetArchitecture((2, 2), growth=4),
    "MobileNet": dataclasses.replace(V3, stages=V3.stages[:2], stochastic_depth=0.5),
    "RegNet": RegNetArchitecture(3, 8, 8, 1.5, 8, squeeze=0.25),
    "ResNet": Architecture("bottleneck", (1, 1), features=8, stem="deep", attention="eca"),
    "ResNetV2": ResNetV2Architecture("bottleneck", (1, 2), (16, 32), 8, keras=True),
    "VGG": VGGArchitecture((1, 1), (4, 8), 8),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_is_the_network_in_evaluation_mode(name):
    """Settings of every layer, kinds and shapes of every variable, and what dropout draws from."""

    def made():
        model = getattr(networks, name)(ARCHITECTURES[name], rngs=nnx.Rngs(0))
        model.eval()
        return model

    found = unfilled(lambda: getattr(networks, name)(ARCHITECTURES[name], rngs=Unfilled(0)))
    graph, draws, state = nnx.split(nnx.eval_shape(made), nnx.RngState, ...)
    assert found.graph == graph
    assert jax.tree.leaves(found.draws) == jax.tree.leaves(draws)
    assert jax.tree.leaves(found.state) == jax.tree.leaves(state)
    assert jax.tree.structure(found.state) == jax.tree.structure(state)
