"""Networks whose convolutions have prologues: found in all blocks, and as accurate as without."""

import dataclasses

import jax
import pytest

import agreement
import network_case
import resfuse
from fuse_chains import explained
from resfuse import nnx as networks
from resfuse.models.densenet import DenseNetArchitecture
from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.resnetv2 import ResNetV2Architecture
from sampling import long_but

EFFICIENT = dataclasses.replace(
    MOBILENETS["EfficientNetB0"],
    stages=MOBILENETS["EfficientNetB0"].stages[:2],
    head_features=32,
)
PREACTIVATED = ResNetV2Architecture("bottleneck", (2, 1), (32, 64), 32)
# With what stands in front of their convolutions, and how often.
NETWORKS = {
    "DenseNet": (
        networks.DenseNet,
        DenseNetArchitecture((2, 3), growth=8),
        {"bn+relu:": 2, "concat+bn+relu:": 4},
    ),
    "EfficientNet": (networks.MobileNet, EFFICIENT, {"excitation:": 3}),
    "ResNetV2": (networks.ResNetV2, PREACTIVATED, {"bn+relu:": 3}),
}


@pytest.mark.parametrize("name", long_but(["DenseNet"], NETWORKS))
def test_networks(name, capsys):
    make, architecture, before = NETWORKS[name]
    model = network_case.filled(make, network_case.steady(architecture), 5)
    x = agreement.images(2, 33, 40, 3)
    lines, _ = explained(capsys, model, x)
    heads = [word for row in lines[1:-1] for word in row.split() if word.endswith(":")]
    assert {word: heads.count(word) for word in heads} == before
    exact = agreement.in_float64(lambda x: model(x), x)
    agreement.assert_as_accurate(resfuse.fuse(lambda x: model(x))(x), jax.jit(model)(x), exact)
