"""ConvNeXt against timm, torchvision and Keras."""

import functools

import pytest

import agreement
import keras_weights
import network_case
from resfuse import nnx as networks
from resfuse.models.convnext import CONVNEXTS, ConvNeXtArchitecture

PARAMETERS = {  # torchvision's; then the channels of timm's feature maps
    "ConvNeXtTiny": (28_589_128, [96, 192, 384, 768]),
    "ConvNeXtSmall": (50_223_688, [96, 192, 384, 768]),
    "ConvNeXtBase": (88_591_464, [128, 256, 512, 1024]),
}
# What timm 1.0.31 gives, in float64, with the weights of ``torch_weights`` and one image of 67x70.
TINY = ConvNeXtArchitecture((1, 2, 1, 1), (8, 16, 16, 24))
LOGITS = [-1.27015708, -0.01215622, 0.76738212, 0.63668662, 0.00790316]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(networks.ConvNeXt, CONVNEXTS[name])
    network_case.assert_parameters_and_channels(model, *PARAMETERS[name], first=4)


def test_agrees_with_timm():
    model = network_case.abstract(networks.ConvNeXt, TINY, 5)
    network_case.assert_torch_logits(model, "timm", LOGITS, (67, 70))


@pytest.mark.long
def test_agrees_with_keras():
    make = functools.partial(networks.ConvNeXt, network_case.steady(CONVNEXTS["ConvNeXtTiny"]))
    x = agreement.images(1, 64, 64, 3)
    keras_weights.assert_same_logits(make, "ConvNeXtTiny", x, include_preprocessing=False)


def test_wrong_architectures():
    with pytest.raises(ValueError, match=r"one number a stage, got \(1, 1\) and \(8,\)"):
        ConvNeXtArchitecture((1, 1), (8,))
