"""RegNetX and RegNetY against torchvision and timm."""

import pytest

import network_case
from resfuse import nnx as networks
from resfuse.models.regnet import REGNETS, RegNetArchitecture
from sampling import long_but

PARAMETERS = {  # torchvision's; then the channels of timm's feature maps
    "RegNetX400MF": (5_495_976, [32, 32, 64, 160, 400]),
    "RegNetX800MF": (7_259_656, [32, 64, 128, 288, 672]),
    "RegNetX1_6GF": (9_190_136, [32, 72, 168, 408, 912]),
    "RegNetX3_2GF": (15_296_552, [32, 96, 192, 432, 1008]),
    "RegNetX8GF": (39_572_648, [32, 80, 240, 720, 1920]),
    "RegNetX16GF": (54_278_536, [32, 256, 512, 896, 2048]),
    "RegNetX32GF": (107_811_560, [32, 336, 672, 1344, 2520]),
    "RegNetY400MF": (4_344_144, [32, 48, 104, 208, 440]),
    "RegNetY800MF": (6_432_512, [32, 64, 144, 320, 784]),
    "RegNetY1_6GF": (11_202_430, [32, 48, 120, 336, 888]),
    "RegNetY3_2GF": (19_436_338, [32, 72, 216, 576, 1512]),
    "RegNetY8GF": (39_381_472, [32, 224, 448, 896, 2016]),
    "RegNetY16GF": (83_590_140, [32, 224, 448, 1232, 3024]),
    "RegNetY32GF": (145_046_770, [32, 232, 696, 1392, 3712]),
}
QUICK = ("RegNetX400MF", "RegNetY800MF")
# What torchvision 0.29.1 gives, in float64, with the weights of ``torch_weights`` and one image of
# 37x30: ``BlockParams.from_init_params`` of the same numbers. The groups of 12 change the widths.
TINY = {
    "X": RegNetArchitecture(4, 16, 10, 1.5, 12),
    "Y": RegNetArchitecture(4, 16, 10, 1.5, 8, squeeze=0.25),
}
LOGITS = {
    "X": [0.21354561, -0.30945105, -0.1201544, 0.52198652, 0.55660113],
    "Y": [0.39318102, -0.03538576, -0.50053707, -0.64721357, -0.21033169],
}


@pytest.mark.parametrize(
    "name",
    long_but(QUICK, PARAMETERS),
)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(networks.RegNet, REGNETS[name])
    network_case.assert_parameters_and_channels(model, *PARAMETERS[name])


@pytest.mark.parametrize("name", TINY)
def test_agrees_with_torchvision(name):
    model = network_case.abstract(networks.RegNet, TINY[name], 5)
    network_case.assert_torch_logits(model, "torchvision", LOGITS[name])
