"""DenseNet against torchvision, timm and Keras."""

import dataclasses
import functools

import pytest

import agreement
import keras_weights
import network_case
from resfuse import nnx as networks
from resfuse.models.convention import Convention
from resfuse.models.densenet import DENSENETS, DenseNetArchitecture
from sampling import some

PARAMETERS = {  # torchvision's; then the channels of timm's feature maps
    "DenseNet121": (7_978_856, [64, 256, 512, 1024, 1024]),
    "DenseNet169": (14_149_480, [64, 256, 512, 1280, 1664]),
    "DenseNet201": (20_013_928, [64, 256, 512, 1792, 1920]),
}
# What torchvision 0.29.1 gives, in float64, with the weights of ``torch_weights`` and one image of
# 45x38: odd rows and columns are lost in both transitions.
TINY = DenseNetArchitecture((2, 3), growth=8)
LOGITS = [-0.69394692, 0.42814421, 0.24809016, -1.9198763, -0.95110825]


@pytest.mark.parametrize(
    "name",
    some(1, ["DenseNet121", "DenseNet169", "DenseNet201"]),
)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(networks.DenseNet, DENSENETS[name])
    network_case.assert_parameters_and_channels(model, *PARAMETERS[name])


def test_agrees_with_torchvision():
    model = network_case.abstract(networks.DenseNet, TINY, 5)
    network_case.assert_torch_logits(model, "torchvision", LOGITS, (45, 38))


@pytest.mark.long
def test_agrees_with_keras():
    ported = dataclasses.replace(DENSENETS["DenseNet121"], convention=Convention(epsilon=1.001e-5))
    ranks = {"conv0": -2, "norm0": -1, "norm5": 8, "classifier": 9}

    def rank(path):
        return ranks[path[0]] if path[0] in ranks else path[1] + 0.5 * (path[0] == "transitions")

    make = functools.partial(networks.DenseNet, ported)
    x = agreement.images(1, 45, 40, 3)
    keras_weights.assert_same_logits(make, "DenseNet121", x, rank=rank)
